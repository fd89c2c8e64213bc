from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reenact_zoo.faces.align import CropPolicy, crop
from reenact_zoo.faces.detect import HogDetector
from reenact_zoo.faces.identity import MobileFaceNetIdentity
from reenact_zoo.faces.landmarks import OpenSeeFaceLandmarks
from reenact_zoo.faces.networks.mobilefacenet import MobileFaceNet


def test_the_network_has_the_shape_of_the_table() -> None:
    network = MobileFaceNet().eval()
    with torch.inference_mode():
        assert network.features(network.dw_conv(network.conv1(torch.rand(1, 3, 112, 112)))).shape == (1, 128, 7, 7)
        assert network(torch.rand(2, 3, 112, 112)).shape == (2, 128)


def test_embeddings_are_differentiable_in_the_image(weights_folder: Path, astronaut: NDArray[np.uint8]) -> None:
    points = torch.from_numpy(OpenSeeFaceLandmarks().detect(astronaut, [(175, 85, 285, 210)]))
    image = (torch.from_numpy(astronaut).permute(2, 0, 1)[None].float() / 255).requires_grad_()
    tool = MobileFaceNetIdentity()
    embedding = tool(image, points)
    embedding[0, 0].backward()
    assert image.grad is not None
    assert float(image.grad[0, :, 85:210, 175:285].abs().sum()) > 0
    assert float(image.grad[0, :, 400:].abs().sum()) == 0, "nothing outside of the face is read"


def test_people_are_told_apart_in_real_clips(weights_folder: Path, real_clips: Path) -> None:
    import av

    tool, hog, points = MobileFaceNetIdentity(), HogDetector(), OpenSeeFaceLandmarks()
    embeddings = []
    for name in ("d18", "d19", "s32"):
        with av.open(str(real_clips / f"{name}.mp4")) as container:
            frames = [f.to_ndarray(format="rgb24") for f, _ in zip(container.decode(video=0), range(61))][::30]
        rows = []
        for frame in frames:
            found = points.detect(frame, [hog.detect(frame)[0].box])[0]
            assert crop(frame, CropPolicy().square(found), 64).shape == (64, 64, 3)
            image = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
            rows.append(tool(image, torch.from_numpy(found)[None])[0])
        embeddings.append(torch.stack(rows))
    within = min(float((e @ e.T).min()) for e in embeddings)
    between = max(float((embeddings[i] @ embeddings[j].T).max()) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert within > 0.6
    assert between < 0.4

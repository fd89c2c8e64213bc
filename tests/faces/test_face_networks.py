"""Instruments whose weights nobody has at hand, under pseudo-weights: crops, shapes, gradients, entries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_stand_ins import OneFile, PseudoStore, face_points, node, onnx_model
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.faces.arcface import ArcFaceIdentity
from reenact_zoo.faces.bisenet import BiSeNetParsing
from reenact_zoo.faces.cosface import CosFaceIdentity
from reenact_zoo.faces.deca import DecaCoefficients
from reenact_zoo.faces.deep3d import Deep3DCoefficients
from reenact_zoo.faces.hopenet import HopenetPose
from reenact_zoo.faces.hrnet import FROM_98, HRNetLandmarks, decode
from reenact_zoo.faces.matting import ParsingMatte, RobustVideoMatting, matte_from_parsing

BUILDERS: dict[str, Callable[..., Any]] = {
    "identity_cosface": CosFaceIdentity,
    "identity_arcface_r18": lambda store: ArcFaceIdentity(store, depth="r18"),
    "pose_hopenet": HopenetPose,
    "coefficients_deca": DecaCoefficients,
    "coefficients_deep3d": Deep3DCoefficients,
}


def faces() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 16, 20, generator=generator)
    images = F.interpolate(coarse, (128, 160), mode="bicubic", align_corners=False).clamp(0, 1)
    return images, torch.from_numpy(np.stack([face_points(60, 64, 50), face_points(90, 50, 40)]))


@pytest.mark.parametrize("name", BUILDERS)
def test_an_instrument_reads_the_face_alone_and_asks_for_its_own_weights(name: str) -> None:
    store = PseudoStore()
    tool = BUILDERS[name](store)
    assert tool.name == name
    assert store.asked == list(tool.weights)
    assert store.known(tool.weights[0])
    images, points = faces()
    images.requires_grad_()
    values = tool(images, points)
    assert values.shape == (2, tool.size)
    assert not torch.allclose(values[0], values[1])
    alone = tool(images[1:], points[1:])
    assert torch.allclose(values[1:], alone, rtol=1e-3, atol=1e-4)
    values[1].square().sum().backward() if "identity" not in name else values[1, 0].backward()
    assert images.grad is not None
    assert float(images.grad[0].abs().sum()) == 0
    assert float(images.grad[1, :, 40:60, 80:100].abs().sum()) > 0
    if "identity" in name:
        assert torch.allclose(values.norm(dim=1), torch.ones(2), atol=1e-5)


def test_cosface_sees_the_face_and_its_mirror_image() -> None:
    tool = CosFaceIdentity(PseudoStore())
    seen: list[Tensor] = []

    def network(x: Tensor) -> Tensor:
        seen.append(x)
        return x.flatten(1)[:, :512]

    tool._network = network  # type: ignore[assignment]
    tool(*faces())
    assert len(seen) == 2
    assert torch.equal(seen[0].flip(3), seen[1])


# --- landmarks ------------------------------------------------------------------------------------------------------


def test_decoding_follows_the_authors_rule_point_by_point() -> None:
    generator = torch.Generator().manual_seed(1)
    heat = torch.randn(2, 50, 7, 9, generator=generator)
    heat[0, 0] = -1.0
    points, scores = decode(heat)
    rim = 0
    for b in range(2):
        for n in range(50):
            plane = heat[b, n].numpy()
            row, column = np.unravel_index(plane.argmax(), plane.shape)
            expected = np.array([column, row], float)
            if 0 < column < 8 and 0 < row < 6:
                expected[0] += 0.25 * np.sign(plane[row, column + 1] - plane[row, column - 1])
                expected[1] += 0.25 * np.sign(plane[row + 1, column] - plane[row - 1, column])
            else:
                rim += 1
            if (b, n) == (0, 0):
                expected[:] = -0.5
            assert points[b, n].tolist() == expected.tolist()
            assert float(scores[b, n]) == float(plane.max())
    assert 10 < rim < 60, "both branches are met"


def test_points_come_back_to_where_the_image_showed_them() -> None:
    tool = HRNetLandmarks(PseudoStore())
    assert tool.weights == ("hrnet_w18_300w",)
    spots = [(150.0, 90.0), (180.0, 120.0)]

    def network(x: Tensor) -> Tensor:
        """Heat maps that are the crop itself, averaged over cells; the colour says which point."""
        return F.avg_pool2d(x * 0.22 + 0.45, 4)[:, [0, 1] * 34]

    tool._network = network  # type: ignore[assignment]
    image = np.zeros((240, 320, 3), np.uint8)
    y, x = np.mgrid[:240, :320]
    for colour, (column, row) in enumerate(spots):
        image[..., colour] = 255 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 50)
    points, scores = tool.detect_scored(image, [(120, 60, 220, 160)], around_landmarks=True)
    assert points.shape == (1, 68, 2)
    assert points[0, :2] == pytest.approx(np.array(spots), abs=0.6)  # a cell is two pixels here
    assert 0 < scores[0] <= 1
    again = tool.detect(image, [(100, 40, 240, 180)])  # second pass: on the box of its own points
    assert again[0, :2] == pytest.approx(np.array(spots), abs=0.6)
    assert tool.detect(image, []).shape == (0, 68, 2)


def test_98_points_are_read_as_68() -> None:
    assert len(FROM_98) == 68
    assert len(set(FROM_98.tolist())) == 68
    tool = HRNetLandmarks(PseudoStore(), points=98)
    assert tool.weights == ("hrnet_w18_wflw",)
    assert tool.detect(np.zeros((64, 64, 3), np.uint8), [(10, 10, 50, 50)]).shape == (1, 68, 2)
    assert FROM_98[[0, 8, 16, 30, 36, 39, 45, 48, 54, 62, 66]].tolist() == [0, 16, 32, 54, 60, 64, 72, 76, 82, 90, 94]


# --- maps -----------------------------------------------------------------------------------------------------------


def test_classes_lie_where_the_image_shows_them() -> None:
    tool = BiSeNetParsing(PseudoStore())

    def network(x: Tensor) -> tuple[Tensor]:
        """Class 1 where red is bright, class 0 elsewhere."""
        logits = torch.full((len(x), 19, 512, 512), -50.0)
        bright = x[:, 0] > 0
        logits[:, 1], logits[:, 0] = torch.where(bright, 20.0, -20.0), torch.where(bright, -20.0, 20.0)
        return (logits,)

    tool._network = network  # type: ignore[assignment]
    images = torch.zeros(2, 3, 128, 160)
    images[0, 0, 50:80, 45:75] = 1
    images[1, 0, 40:60, 80:100] = 1
    points = np.stack([face_points(60, 64, 50), face_points(90, 50, 40) @ np.float32([[1, 0.2], [-0.2, 1]])])
    points[1] += np.float32([90, 50]) - points[1].mean(0)  # the second face is turned
    probabilities = tool(images, torch.from_numpy(points))
    assert probabilities.shape == (2, 19, 128, 160)
    assert torch.allclose(probabilities.sum(1), torch.ones(2, 128, 160), atol=1e-4)
    agreement = (probabilities[:, 1] > 0.5) == (images[:, 0] > 0.5)
    assert float(agreement.float().mean()) > 0.99


def test_parsing_is_differentiable_and_the_matte_is_what_is_not_background() -> None:
    store = PseudoStore()
    matte = ParsingMatte(store)
    assert (matte.name, matte.weights) == ("matte_bisenet", ("bisenet_celebamask_hq",))
    images, points = faces()
    images.requires_grad_()
    values = matte(images, points)
    assert values.shape == (2, 1, 128, 160)
    assert bool(((values >= -1e-6) & (values <= 1 + 1e-6)).all())
    values[1].mean().backward()
    assert images.grad is not None
    assert float(images.grad[1].abs().sum()) > 0
    parsing = torch.zeros(1, 19, 2, 2)
    parsing[0, 0, 0, 0], parsing[0, 17, 0, 1], parsing[0, 0, 1, 0], parsing[0, 14, 1, 0] = 1.0, 1.0, 0.25, 0.75
    assert matte_from_parsing(parsing)[0, 0, 0].tolist() == [0.0, 1.0]
    assert float(matte_from_parsing(parsing)[0, 0, 1, 0]) == 0.75


def test_video_matting_keeps_its_state_from_frame_to_frame(tmp_path: Path) -> None:
    """A stand-in file: the matte is the image's mean colour times the last state, the state counts frames."""
    state = ("b", "c", "h", "w")
    nodes = [node("ReduceMean", ["src"], ["mean"], axes=[1], keepdims=1), node("Mul", ["mean", "r1i"], ["pha"])]
    nodes += [node("Sub", ["r1i", "r1i"], ["zero"]), node("Exp", ["zero"], ["one"])]
    nodes += [node("Add", [f"r{i}i", "one"], [f"r{i}o"]) for i in range(1, 5)]
    inputs = {"src": ("n", 3, "y", "x"), "downsample_ratio": (1,), **{f"r{i}i": state for i in range(1, 5)}}
    outputs = {"pha": ("n", 1, "y", "x"), **{f"r{i}o": state for i in range(1, 5)}}
    (tmp_path / "rvm.onnx").write_bytes(onnx_model(nodes, inputs, outputs))
    tool = RobustVideoMatting(OneFile(tmp_path / "rvm.onnx"))
    frame = np.full((4, 6, 3), 51, np.uint8)
    assert [round(float(tool.matte(frame)[3, 5]), 3) for _ in range(3)] == [0.0, 0.2, 0.4]
    tool.reset()
    assert float(tool.matte(frame).max()) == 0

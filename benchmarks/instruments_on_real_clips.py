"""How far the instruments trained on renders transfer to real faces: beside OpenSeeFace, 3DDFA_V2 and MobileFaceNet.

python benchmarks/instruments_on_real_clips.py ../shared/data/real_clips

Every clip shows one person, so "the same person" means "the same clip". OpenSeeFace and 3DDFA_V2 are themselves no
truth: their own errors are part of every difference. The weights they need are found through REENACT_ZOO_WEIGHTS.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from reenact_zoo.faces.detect import default_detector
from reenact_zoo.faces.head_pose import pose_from_tddfa
from reenact_zoo.faces.identity import MobileFaceNetIdentity
from reenact_zoo.faces.landmarks import OpenSeeFaceLandmarks
from reenact_zoo.faces.networks.synthetic_embedding import SyntheticIdentityJudge, SyntheticIdentityTrain
from reenact_zoo.faces.networks.synthetic_landmarks import SyntheticLandmarks
from reenact_zoo.faces.networks.synthetic_motion import SyntheticMotionJudge, SyntheticMotionTrain
from reenact_zoo.faces.synthetic_crop import box_crop, face_crop, identity_crop, points_to_image
from reenact_zoo.faces.tddfa import Tddfa
from reenact_zoo.video.read import RandomAccessVideo

BUNDLED = Path(__file__).resolve().parents[1] / "reenact_zoo" / "bundled" / "weights"
SIDE = 480  # longest side of the pictures that are measured
SMALL_FACE_PX = 28  # longer side of the landmarks' box in the benchmark's 64-pixel frames
NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass
class Real:
    """One frame with what networks for real faces say of it."""

    clip: int
    image: Tensor  # (1, 3, H, W)
    box: Tensor  # (1, 4) of the detector
    landmarks: Tensor  # (1, 68, 2) OpenSeeFace, px
    pose_deg: Tensor  # (3,) 3DDFA_V2


def frames(folder: Path, per_clip: int) -> list[Real]:
    """Evenly spaced frames of every clip in which a face is found."""
    detector, points, tddfa = default_detector(), OpenSeeFaceLandmarks(), Tddfa()
    out = []
    for number, path in enumerate(sorted(folder.glob("*.mp4"))):
        with RandomAccessVideo(path) as video:
            pictures = [video.frame(int(i)) for i in np.linspace(0, len(video) - 1, per_clip)]
        for picture in pictures:
            small = shrunk(picture, SIDE / max(picture.shape[:2]))
            found = detector.detect(small)
            if not found:
                continue
            landmarks = torch.from_numpy(points.detect(small, [found[0].box]))
            image = tensor(small)
            with torch.inference_mode():
                pose = pose_from_tddfa(tddfa.parameters(tddfa.whitened(image, landmarks)))[0]
            out.append(Real(number, image, torch.tensor([found[0].box]), landmarks, pose))
    return out


def shrunk(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    if factor >= 1:
        return picture
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def tensor(picture: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def small(real: Real) -> Real:
    """The same frame with a face as small as in the benchmark."""
    span = (real.landmarks.amax(1) - real.landmarks.amin(1)).max()
    factor = min(1.0, SMALL_FACE_PX / float(span))
    picture = (real.image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    image = tensor(shrunk(picture, factor))
    scale = torch.tensor([image.shape[3] / real.image.shape[3], image.shape[2] / real.image.shape[2]])
    box = ((real.box.view(1, 2, 2) + 0.5) * scale - 0.5).view(1, 4)
    return Real(real.clip, image, box, (real.landmarks + 0.5) * scale - 0.5, real.pose_deg)


def loaded(network: NetworkT, name: str, folder: Path) -> NetworkT:
    network.load_state_dict(load_file(folder / f"{name}.safetensors"))
    return network.eval()


def located(network: SyntheticLandmarks, real: Real) -> tuple[Tensor, float]:
    """(1, 68, 2) px and confidence: from the detector's box, then from the points that were found."""
    crops, matrices = box_crop(real.image, real.box)
    crops, matrices = face_crop(real.image, points_to_image(network(crops).points, matrices))
    found = network(crops)
    return points_to_image(found.points, matrices), float(found.confidence)


def landmark_rows(network: SyntheticLandmarks, reals: list[Real]) -> list[str]:
    errors, inner, sure = [], [], []
    for real in reals:
        points, confidence = located(network, real)
        distance = (points - real.landmarks)[0].norm(dim=-1)
        eyes = (real.landmarks[0, 36] - real.landmarks[0, 45]).norm()
        errors.append(float(100 * distance.mean() / eyes))
        inner.append(float(100 * distance[17:].mean() / eyes))
        sure.append(confidence)
    return [
        f"landmarks from OpenSeeFace's, % of inter-ocular: median {np.median(errors):.1f} "
        f"(without jaw line {np.median(inner):.1f}), 90th percentile {np.percentile(errors, 90):.1f}",
        f"confidence over 0.5: {np.mean(np.array(sure) > 0.5):.2f}",
    ]


def pose_rows(name: str, network: nn.Module, points: SyntheticLandmarks, reals: list[Real]) -> list[str]:
    truth = torch.stack([real.pose_deg for real in reals]).numpy()
    rows = []
    for whose in ("OpenSeeFace", "synthetic"):
        used = [real.landmarks if whose == "OpenSeeFace" else located(points, real)[0] for real in reals]
        crops = torch.cat([face_crop(real.image, p)[0] for real, p in zip(reals, used)])
        found = network(crops)[:, :3].numpy()
        parts = []
        for axis, label in enumerate(("yaw", "pitch", "roll")):
            error = np.abs(found[:, axis] - truth[:, axis]).mean()
            together = np.corrcoef(found[:, axis], truth[:, axis])[0, 1]
            offset = np.median(found[:, axis] - truth[:, axis])
            parts.append(f"{label} r {together:.2f} MAE {error:.1f} (offset {offset:+.1f})")
        rows.append(f"{name}, {whose} landmarks, against 3DDFA_V2 in degrees: {', '.join(parts)}")
    return rows


def identity_row(name: str, embeddings: Tensor, clips: Tensor) -> str:
    """Cosines within and between clips, and the accuracy of telling them apart at the best threshold."""
    cosines = embeddings @ embeddings.T
    above = torch.ones_like(cosines).triu(1).bool()
    same = clips[:, None] == clips
    within, between = cosines[same & above], cosines[~same & above]
    best = max(
        float(((within > t).float().mean() + (between <= t).float().mean()) / 2) for t in torch.linspace(-1, 1, 401)
    )
    return (
        f"{name}: cosine within clips {within.mean():.2f} (5 % below {within.quantile(0.05):.2f}), between "
        f"{between.mean():.2f} (5 % above {between.quantile(0.95):.2f}), balanced accuracy {best:.3f}"
    )


def report(reals: list[Real], folder: Path) -> None:
    points = loaded(SyntheticLandmarks(), "synthetic_landmarks", folder)
    lines = landmark_rows(points, reals)
    motions = {"train": SyntheticMotionTrain, "judge": SyntheticMotionJudge}
    for role, motion in motions.items():
        lines += pose_rows(f"motion_{role}", loaded(motion(), f"synthetic_motion_{role}", folder), points, reals)
    clips = torch.tensor([real.clip for real in reals])
    people = {"train": SyntheticIdentityTrain, "judge": SyntheticIdentityJudge}
    for role, embedder in people.items():
        network = loaded(embedder(), f"synthetic_identity_{role}", folder)
        embeddings = network(torch.cat([identity_crop(real.image, real.landmarks) for real in reals]))
        lines.append(identity_row(f"identity_{role}", embeddings, clips))
    reference = MobileFaceNetIdentity()
    lines.append(
        identity_row("mobilefacenet", torch.cat([reference(real.image, real.landmarks) for real in reals]), clips)
    )
    print("\n".join(f"  {line}" for line in lines))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, help="folder of video files, one person in each")
    parser.add_argument("--weights", type=Path, default=BUNDLED, help="folder of the synthetic instruments")
    parser.add_argument("--per-clip", type=int, default=24)
    given = parser.parse_args()
    reals = frames(given.clips, given.per_clip)
    print(f"{len(reals)} frames of {len({real.clip for real in reals})} clips; the faces as they are:")
    report(reals, given.weights)
    print(f"made as small as in the benchmark's 64-pixel frames (landmarks' box {SMALL_FACE_PX} px):")
    report([small(real) for real in reals], given.weights)


if __name__ == "__main__":
    main()

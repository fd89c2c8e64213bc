"""Pictures of the synthetic data for the documentation: people, one person moving, pairs with their true target, truth.

python benchmarks/contact_sheet.py --head ict --out docs/pictures
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from reenact_zoo.data.pairs import read_pairs
from reenact_zoo.datasets._actions import ACTIONS
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.synthetic import VERSION, Synthetic, SyntheticConfig
from reenact_zoo.faces.renderer import correspondence

Picture = NDArray[np.uint8]
GAP = 4
CLIPS = 4
# BiSeNet's 19 classes, colours by eye: skin warm, left and right of a pair in two shades
COLOURS = np.array(
    "40,40,48 236,188,150 120,70,40 150,95,60 60,140,220 90,180,240 20,20,20 200,130,90 220,150,110 250,220,60 "
    "250,160,120 120,20,30 220,70,90 190,50,75 205,150,120 240,200,80 90,130,90 90,60,50 150,110,170".replace(
        ",", " "
    ).split(),
    dtype=np.uint8,
).reshape(19, 3)


def grid(rows: list[list[Picture]]) -> Picture:
    """Pictures of one size in rows, with white gaps."""

    def framed(pictures: list[Picture], axis: int) -> Picture:
        pad = [(0, GAP) if a == axis else (0, 0) for a in range(3)]
        return np.concatenate([np.pad(p, pad, constant_values=255) for p in pictures], axis=axis)

    return framed([framed(row, 1)[:, :-GAP] for row in rows], 0)[:-GAP]


def people(dataset: Synthetic) -> Picture:
    """32 identities, each in its calmest frame."""
    refs = [calm(dataset, clip.name) for clip in dataset.clips[:32]]
    return grid([[dataset.frame(ref) for ref in refs[k : k + 8]] for k in range(0, 32, 8)])


def calm(dataset: Synthetic, clip: str) -> FrameRef:
    motion = dataset.motion(clip)
    unrest = np.abs(motion.rotation_deg).sum(axis=1) + 60 * motion.actions[:, ACTIONS.index("eyeBlink_L")]
    return FrameRef(clip, int(unrest.argmin()))


def one_person(dataset: Synthetic, person: int) -> Picture:
    """One identity in 32 moments: four of its clips, eight evenly spaced frames each."""
    clips = [clip for clip in dataset.clips if clip.identity == dataset.clips[person * CLIPS].identity]
    moments = [int(k) for k in np.linspace(5, clips[0].num_frames - 1, 8)]
    return grid([[dataset.frame(FrameRef(clip.name, k)) for k in moments] for clip in clips])


def pairs(dataset: Synthetic, path: Path) -> Picture:
    """Six frozen cross pairs as source, driving, true target; two of each bin of yaw change."""
    listed = sorted(read_pairs(path), key=lambda p: p.bins["delta_yaw_deg"])
    chosen = [listed[round(len(listed) * share)] for share in (0.05, 0.25, 0.4, 0.6, 0.75, 0.95)]
    shown = [
        [dataset.frame(p.source), dataset.frame(p.driving), dataset.cross_target(p.source, p.driving)["target"]]
        for p in chosen
    ]
    return grid([[*first, *second] for first, second in zip(shown[:3], shown[3:])])


def truth(dataset: Synthetic, person: int) -> Picture:
    """Two frames of a clip: landmarks, parsing, normals; then the flow between them and the first one warped by it."""
    clip = dataset.clips[person].name
    yaw = dataset.motion(clip).rotation_deg[:, 0]
    refs = [FrameRef(clip, int(k)) for k in (np.abs(yaw).argmin(), np.abs(np.abs(yaw) - 30).argmin())]
    first, second = (dataset.render(ref) for ref in refs)
    flow, valid = correspondence(first, second, static_background=True)
    warped = torch.nn.functional.grid_sample(first.image, flow, align_corners=False)[0].permute(1, 2, 0).numpy()
    warped = np.where(valid[0, 0, ..., None].numpy() > 0, warped, 0)
    centres = (2 * np.arange(dataset.config.image_size) + 1) / dataset.config.image_size - 1
    moved = flow[0].numpy() - np.stack(np.meshgrid(centres, centres), axis=-1)
    rows = [[dotted(dataset, r), coloured(dataset, r), normals(dataset, r)] for r in refs]
    return grid([rows[0] + [wheel(moved)], rows[1] + [np.uint8(np.clip(warped, 0, 1) * 255)]])


def dotted(dataset: Synthetic, ref: FrameRef) -> Picture:
    """The frame with its landmarks: green where visible, red where hidden."""
    image, size = dataset.frame(ref).copy(), dataset.config.image_size
    render = dataset.render(ref)
    for (x, y), seen in zip(((render.landmarks[0].numpy() + 1) * size - 1) / 2, render.landmarks_visible[0]):
        cv2.circle(
            image, (round(float(x)), round(float(y))), max(1, size // 128), (40, 255, 40) if seen else (255, 40, 40), -1
        )
    return image


def coloured(dataset: Synthetic, ref: FrameRef) -> Picture:
    shares = dataset.annotations(ref)["parsing"]
    return np.uint8(np.einsum("chw,ck->hwk", shares, COLOURS.astype(np.float32)))


def normals(dataset: Synthetic, ref: FrameRef) -> Picture:
    values = dataset.render(ref).normals[0].permute(1, 2, 0).numpy()
    return np.uint8((values * 0.5 + 0.5) * 255 * (np.abs(values).sum(axis=-1, keepdims=True) > 0))


def wheel(moved: NDArray[np.float64]) -> Picture:
    """Direction as hue, length as saturation."""
    angle, length = np.arctan2(moved[..., 1], moved[..., 0]), np.linalg.norm(moved, axis=-1)
    hue = np.uint8((angle + np.pi) / (2 * np.pi) * 179)
    strength = np.uint8(255 * np.clip(length / max(float(np.percentile(length, 99)), 1e-6), 0, 1))
    return cv2.cvtColor(np.stack([hue, strength, np.full_like(hue, 255)], axis=-1), cv2.COLOR_HSV2RGB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", default="ict", choices=["ict", "procedural"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--person", type=int, default=4)
    given = parser.parse_args()
    common = {"head": given.head, "image_size": given.size, "frames": 100}
    shown = Synthetic(SyntheticConfig(**common, split="train"))
    frozen = Synthetic(SyntheticConfig(**common, split="test", test_identities=60))
    lists = Path(__file__).parent / "pairs" / f"synthetic_cross_v{VERSION}.csv"
    sheets = {
        "people": lambda: people(shown),
        "person": lambda: one_person(Synthetic(SyntheticConfig(**common, split="train", clips=CLIPS)), given.person),
        "pairs": lambda: pairs(frozen, lists),
        "truth": lambda: truth(Synthetic(SyntheticConfig(**{**common, "image_size": 2 * given.size})), given.person),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    for name, make in sheets.items():
        path = given.out / f"synthetic_{name}_{given.head}.jpg"
        cv2.imwrite(str(path), make()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

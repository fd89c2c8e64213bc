"""Tiny trees in the exact layouts of FaceForensics++, Celeb-DF, VoxCeleb and TalkingHead-1KH, with drawn faces.

    python tests/fake_trees.py FOLDER [LAYOUT ...]

The names follow the datasets' rules and quirks; the people do not exist. Names of the real lists appear where a list
that ships with the package is tested: numbers of FaceForensics++, codes of VoxCeleb1's test identities. Every file
is a few frames of 64x64 pixels and differs from every other.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from reenact_zoo.consent import accept_terms
from reenact_zoo.video.write import VideoWriter

FRAMES = 5
# Official pairs: train 071/054, val 720/672, test 953/974; 605 and 606 come from one video and lie in train and val.
FFPP_NUMBERS = ("054", "071", "605", "606", "672", "720", "953", "974")
FFPP_PAIRS = ("071_054", "054_071", "720_672", "672_720", "953_974", "974_953")
# id0 and id1 train, id5 and id8 are tested in the frozen split after DCG-GAN; the list keeps no identity together.
CELEB_REAL = ("id0_0000", "id0_0001", "id1_0000", "id5_0000", "id5_0001", "id8_0003")
YOUTUBE_REAL = ("00000", "00170", "00299")
CELEB_SYNTHESIS = ("id0_id1_0000", "id5_id8_0001", "id1_id5_0000")
CELEB_LIST = (
    "1 YouTube-real/00170.mp4",
    "1 Celeb-real/id5_0001.mp4",
    "1 Celeb-real/id8_0003.mp4",
    "0 Celeb-synthesis/id5_id8_0001.mp4",
)
FOMM_TRAIN = (
    "id10001#FakeVideo01#000993#000998",
    "id10001#-FakeVideo2#001143#001148",
    "id10005#Fake_Video3#003467#003472",
)
FOMM_TEST = ("id10280#FakeVideo04#001093#001098", "id10283#0Fake_Vide5#000020#000025")
OFFICIAL = (
    "id10001/FakeVideo01/00001",
    "id10001/FakeVideo01/00002",
    "id10270/-FakeVideo6/00001",
    "id10309/_FakeVideo7/00016",
)
VOX2_DEV, VOX2_TEST = ("id00012/FakeVideo08/00001",), ("id00017/FakeVideo09/00001",)
META = (
    ("id10001", "A.J._Example", "m", "Nowhere", "dev"),
    ("id10002", "Ann_Example_Jr.", "f", "Nowhere", "dev"),  # ends in a dot, which loaders strip
    ("id10270", "Zoë_Example", "f", "Nowhere", "test"),
)
FACES = ("A.J._Example/FakeVideo10", "Ann_Example_Jr/FakeVideo11", "Zoë_Example/-FakeVide12")
TALKING = (
    "--FakeVid13_0000_S0_E4_L502_T49_R1046_B593",
    "-FakeVide14_0000_S1202_E1206_L341_T38_R857_B554",
    "Fake_Vide15_0003_S76_E80_L12_T0_R524_B512",
)
_numbers = itertools.count()


def frames(count: int = FRAMES, size: int = 64) -> list[np.ndarray]:
    """A drawn face of a person nobody has seen yet, that drifts and opens its mouth."""
    random = np.random.default_rng(next(_numbers))
    room, skin, lips = random.integers(20, 235, (3, 3))
    centre = random.uniform(0.4, 0.6, 2)
    return [_face(size, centre + 0.02 * index, 0.02 + 0.02 * index, room, skin, lips) for index in range(count)]


def _face(size: int, centre: np.ndarray, opening: float, *colours: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size - centre[:, None, None]
    image = np.broadcast_to(colours[0], (size, size, 3)) * (0.7 + 0.3 * np.mgrid[:size, :size][0] / size)[..., None]
    image[(x / 0.28) ** 2 + (y / 0.36) ** 2 < 1] = colours[1]
    image[((abs(x) - 0.11) / 0.05) ** 2 + ((y + 0.08) / 0.03) ** 2 < 1] = 10  # eyes
    image[(x / 0.12) ** 2 + ((y - 0.18) / opening) ** 2 < 1] = colours[2]
    return image.astype(np.uint8)


def video(path: Path, count: int = FRAMES, rate: Fraction = Fraction(25), size: int = 64) -> Path:
    """A clip of a new person."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, rate, (size, size), crf=23) as writer:
        for image in frames(count, size):
            writer.write(image)
    return path


def frame_folder(folder: Path, names: Sequence[str]) -> Path:
    """Pictures of a new person, one for each name."""
    folder.mkdir(parents=True)
    for name, image in zip(names, frames(len(names))):
        Image.fromarray(image).save(folder / name)
    return folder


def ffpp(root: Path) -> Path:
    """FaceForensics++ in c23, with one manipulation of each kind; actors in raw; frames that some tool extracted."""
    original, fake = root / "original_sequences", root / "manipulated_sequences"
    for number in FFPP_NUMBERS:
        video(original / "youtube" / "c23" / "videos" / f"{number}.mp4", rate=Fraction(30000, 1001))
    for number in ("071", "054"):
        video(original / "youtube" / "c40" / "videos" / f"{number}.mp4")
    frame_folder(original / "youtube" / "c23" / "frames" / "071", ["000.png", "010.png", "020.png"])
    for method in ("Face2Face", "Deepfakes"):
        for name in FFPP_PAIRS:
            video(fake / method / "c23" / "videos" / f"{name}.mp4")
    video(fake / "Face2Face" / "masks" / "videos" / "071_054.mp4")
    video(original / "actors" / "raw" / "videos" / "01__walking_outside.mp4")
    video(fake / "DeepFakeDetection" / "raw" / "videos" / "01_02__walking_outside__ABCD1234.mp4")
    (root / "downloaded_videos").mkdir()
    accept_terms("ffpp", root)
    return root


def celebdf(root: Path) -> Path:
    """Celeb-DF: three folders and the list, whose label 1 means real."""
    for part, names in (
        ("Celeb-real", CELEB_REAL),
        ("YouTube-real", YOUTUBE_REAL),
        ("Celeb-synthesis", CELEB_SYNTHESIS),
    ):
        for name in names:
            video(root / part / f"{name}.mp4", rate=Fraction(30))
    (root / "List_of_testing_videos.txt").write_text("\n".join(CELEB_LIST) + "\n", encoding="utf-8")
    accept_terms("celebdf", root)
    return root


def voxceleb_fomm(root: Path) -> Path:
    """Clips as files, as folders that still end in .mp4, and as folders without it; frames of 7 digits and of none."""
    video(root / "train" / f"{FOMM_TRAIN[0]}.mp4")
    frame_folder(root / "train" / f"{FOMM_TRAIN[1]}.mp4", [f"{i:07d}.png" for i in range(FRAMES)])
    frame_folder(root / "train" / FOMM_TRAIN[2], [f"{i}.png" for i in range(FRAMES)])
    for name in FOMM_TEST:
        video(root / "test" / f"{name}.mp4")
    accept_terms("voxceleb", root)
    return root


def voxceleb_official(root: Path) -> Path:
    """VoxCeleb1's tree without parts."""
    for name in OFFICIAL:
        video(root / "mp4" / f"{name}.mp4")
    accept_terms("voxceleb", root)
    return root


def voxceleb2(root: Path) -> Path:
    """VoxCeleb2's tree with its parts."""
    for part, names in (("dev", VOX2_DEV), ("test", VOX2_TEST)):
        for name in names:
            video(root / part / "mp4" / f"{name}.mp4")
    accept_terms("voxceleb", root)
    return root


def _meta(root: Path) -> None:
    rows = [("VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set"), *META]
    (root / "vox1_meta.csv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def voxceleb_faces(root: Path) -> Path:
    """Sparse stills by name; one folder lacks the dot that the list's name ends in."""
    for name in FACES:
        person, clip = name.split("/")
        frame_folder(root / "unzippedFaces" / person / "1.6" / clip, [f"{i:07d}.jpg" for i in (1, 26, 51)])
    _meta(root)
    accept_terms("voxceleb", root)
    return root


def voxceleb_interval_faces(root: Path) -> Path:
    """Dense stills by name; utterances are numbers without leading zeros."""
    for name in FACES[:2]:
        person, clip = name.split("/")
        for utterance in (2, 10):
            folder = root / "unzippedIntervalFaces" / "data" / person / "1.6" / clip / str(utterance)
            frame_folder(folder, [f"{i:07d}.jpg" for i in (135, 140, 145)])
    _meta(root)
    accept_terms("voxceleb", root)
    return root


def talkinghead1kh(root: Path) -> Path:
    """Two clips for training, one for validation, and the authors' trial download, which is one of training."""
    first = video(root / "train" / "cropped_clips" / f"{TALKING[0]}.mp4")
    video(root / "train" / "cropped_clips" / f"{TALKING[1]}.mp4")
    video(root / "val" / "cropped_clips" / f"{TALKING[2]}.mp4")
    small = root / "small" / "cropped_clips" / first.name
    small.parent.mkdir(parents=True)
    small.write_bytes(first.read_bytes())
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    make.__name__: make
    for make in (
        ffpp,
        celebdf,
        voxceleb_fomm,
        voxceleb_official,
        voxceleb2,
        voxceleb_faces,
        voxceleb_interval_faces,
        talkinghead1kh,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("layouts", nargs="*", choices=[*LAYOUTS, []], help="default: all")
    arguments = parser.parse_args()
    for name in arguments.layouts or LAYOUTS:
        print(LAYOUTS[name](arguments.folder / name))


if __name__ == "__main__":
    main()

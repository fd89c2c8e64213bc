"""Write the official pairs of FaceForensics++ in one file, and freeze the 80/20 split by subject of the DCG-GAN paper.

    python benchmarks/make_splits.py FOLDER_OF_SPLITS reenact_zoo/bundled/lists

FOLDER_OF_SPLITS holds train.json, val.json and test.json of dataset/splits in ondyari/FaceForensics (MIT licence). The
result depends on these files alone; running the script again gives the same bytes.

DCG-GAN (Liu et al.) trains on 80 % of the subjects of a dataset and tests on the others, without saying which. Here a
subject's place is a hash of its name, so that nobody's side depends on who else is there:

- FaceForensics++: the source videos in the order of their hash; the first that add up to 200 sequences are for testing.
- Celeb-DF: no list of its files may be shipped, so the rule is frozen instead: a subject whose hash lies in the lowest
  fifth is for testing. The seed is the first for which that is a fifth of the ids 0 to 61, of the ids 0 to 12 (version
  1) and of the YouTube videos 00000 to 00299, rounded.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from reenact_zoo.datasets._lists import SPLITS, place

SEQUENCES, TEST_SEQUENCES = 1000, 200
# Sequences cut from one source video (dataset/conversion_dict.json of ondyari/FaceForensics). 1,000 sequences minus the
# 23 that are not the first of their video are the 977 videos that the paper counts.
SAME_VIDEO = (
    (331, 332), (524, 525), (566, 567), (605, 606), (614, 615), (618, 619), (639, 640), (685, 686, 687), (755, 756),
    (766, 767), (769, 770), (787, 788), (837, 838), (875, 876), (883, 884), (937, 938), (942, 943), (954, 955),
    (967, 968), (973, 974), (982, 983), (993, 994),
)  # fmt: skip


def official_pairs(folder: Path) -> dict[str, Any]:
    """The three lists, checked: 360, 70 and 70 pairs of 1,000 different numbers."""
    lists = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in SPLITS}
    assert [len(pairs) for pairs in lists.values()] == [360, 70, 70]
    numbers = sorted(number for pairs in lists.values() for pair in pairs for number in pair)
    assert numbers == [f"{i:03d}" for i in range(SEQUENCES)]
    assert SEQUENCES - sum(len(group) - 1 for group in SAME_VIDEO) == 977
    return {
        "source": "ondyari/FaceForensics: dataset/splits, dataset/conversion_dict.json",
        "licence": "MIT (repository); numbers only",
        **lists,
        "same_video": [[f"{i:03d}" for i in group] for group in SAME_VIDEO],
    }


def ffpp_test_sequences(seed: int) -> list[str]:
    """200 sequences; those of one video stay together."""
    later = {i for group in SAME_VIDEO for i in group[1:]}
    sizes = {group[0]: len(group) for group in SAME_VIDEO}
    chosen: list[str] = []
    for first in sorted(set(range(SEQUENCES)) - later, key=lambda i: place("ffpp", seed, f"{i:03d}")):
        size = sizes.get(first, 1)
        if len(chosen) + size <= TEST_SEQUENCES:
            chosen += [f"{i:03d}" for i in range(first, first + size)]
    return sorted(chosen)


def celebdf_seed() -> int:
    """The first seed that cuts the known ranges of names at a fifth."""
    ids, tubes = [f"id{i}" for i in range(62)], [f"YouTube-real/{i:05d}" for i in range(300)]
    seed = 0
    while True:
        tested = [name for name in ids if place("celebdf", seed, name) < 0.2]
        first = [name for name in tested if int(name[2:]) < 13]
        if len(tested) == 12 and len(first) == 3 and sum(place("celebdf", seed, name) < 0.2 for name in tubes) == 60:
            return seed
        seed += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splits", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    split = {
        "source": "our choice; the DCG-GAN paper says 80 % of the subjects, not which (see benchmarks/make_splits.py)",
        "ffpp": {"seed": 0, "test": ffpp_test_sequences(0)},
        "celebdf": {"seed": celebdf_seed(), "test_below": 0.2},
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, content in (("ffpp", official_pairs(arguments.splits)), ("dcg_gan_split", split)):
        lines = ",\n".join(f' "{key}": {json.dumps(value)}' for key, value in content.items())
        (arguments.out / f"{name}.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

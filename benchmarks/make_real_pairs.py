"""Write the frozen protocols of real data: FaceForensics++, VoxCeleb1, Celeb-DF, DCG-GAN's and the One-shot paper's.

    python benchmarks/make_real_pairs.py FOLDER_OF_LISTS benchmarks

FOLDER_OF_LISTS holds ffpp/{train,val,test}.json (ondyari/FaceForensics, dataset/splits) and voxceleb/vox-metadata.csv
(AliaksandrSiarohin/video-preprocessing). Only numbers and names of clips are taken from them. Where nobody may list
the files of a dataset, the protocol holds a rule, and ``reenact-zoo data freeze`` writes the pairs of one's own copy.
The result depends on the lists and the versions of the metrics; running the script again gives the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reenact_zoo.data.pairs import Pair, evenly_spaced, name_order
from reenact_zoo.datasets._lists import VOXCELEB1_TEST, dcg_gan_split
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.evaluation.freeze import Frozen, write_frozen

# Lengths of FF++ sequences are in no list. Indices stay below 100, which keeps to the first four seconds of a sequence.
FFPP_FRAMES, VOXCELEB_FRAMES, DCG_GAN_FRAMES = 100, 64, 10
PAIRS_OF_CLIPS = 2  # for each ordered pair of VoxCeleb1 identities
PARTNERS = 3  # driving clips per source clip where a rule draws; the paper does not say how many

BUNDLED_CROSS = ["identity_mobilefacenet", "pose_3ddfa_v2", "pose_pnp", "expression_3ddfa_v2", "detection_rate"]
BUNDLED_SELF = ["l1", "psnr", "ssim", "ms_ssim_256", *BUNDLED_CROSS[:-1], "nme", "detection_rate"]
# what papers print; most of their networks have to be supplied, and a record says which were not
PICTURES = ["fid", "kid"]
FACES = [
    *("identity_mobilefacenet", "cosim", "csim", "identity_preservation_rate"),
    *("pose_3ddfa_v2", "pose_pnp", "pose_mse", "pose_consistency"),
    *("expression_3ddfa_v2", "exp_mse1_3ddfa_v1", "exp_mse2", "aed_expression"),
    *("au_consistency", "au_consistency_geometric"),
]
CROSS = [*PICTURES, *FACES, "mkr", "detection_rate"]
SELF = [
    *("l1", "psnr", "ssim", "ms_ssim_256", "gradient_magnitude_similarity", "lpips_alex"),
    *PICTURES,
    *FACES,
    *("aed_identity", "nme", "akd", "mkr", "detection_rate"),
]
FACE = {"policy": "face", "scale": 2.0, "shift_y": -0.1}


@dataclass(frozen=True)
class Plan:
    """A protocol to write: its comment, its fields, and its pairs where they are listed."""

    comment: str
    content: Mapping[str, Any]
    pairs: Sequence[Pair] | None = None


def protocol(name: str, title: str, dataset: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Fields of a protocol; setting and metrics follow from the name where not given."""
    setting = "self" if name.endswith("_self") else "cross"
    return {
        "name": name,
        "version": 2,
        "title": title,
        "dataset": dict(dataset),
        "setting": setting,
        "crop": FACE,
        "resolution": 256,
        "motion": "absolute",
        "annotations": "estimated",
        "metrics": SELF if setting == "self" else CROSS,
        **fields,
    }


def pair(source: str, driving: str, index: int) -> Pair:
    """Frame 0 of the source clip driven by a frame of the driving clip; motion may count from that clip's frame 0."""
    name = f"{source}@0<{driving}@{index}"
    return Pair(name, FrameRef(source, 0), FrameRef(driving, index), FrameRef(driving, 0), source == driving)


# --- FaceForensics++ --------------------------------------------------------------------------------------------------


def ffpp(lists: Path) -> Iterator[Plan]:
    """The official test pairs in both directions, as Face2Face and NeuralTextures rendered them, and self pairs."""
    listed = json.loads((lists / "ffpp" / "test.json").read_text(encoding="utf-8"))
    directed = [order for first, second in listed for order in ((first, second), (second, first))]
    assert len(directed) == 140
    dataset = {"name": "ffpp", "config": {"compression": "c23", "split": "official"}}
    frames = evenly_spaced(0, FFPP_FRAMES, 4)
    cross = [pair(f"youtube/{a}", f"youtube/{b}", index) for a, b in directed for index in frames]
    yield Plan(
        "Frozen. The 140 directed pairs of the official test split: source and target <a>, driving <b>, as the "
        "manipulated sequence <a>_<b>; 4 driving frames of each, below 100. Drawn by benchmarks/make_real_pairs.py.",
        protocol("ffpp_cross", "FaceForensics++ test, cross-reenactment", dataset, pairs="ffpp_cross_v1.csv"),
        cross,
    )
    own = [pair(f"youtube/{a}", f"youtube/{a}", i) for a, _ in directed for i in evenly_spaced(1, FFPP_FRAMES, 4)]
    yield Plan(
        "Frozen. The 140 sequences of the official test split, 4 driving frames of each, below 100. Drawn by "
        "benchmarks/make_real_pairs.py.",
        protocol("ffpp_self", "FaceForensics++ test, self-reenactment", dataset, pairs="ffpp_self_v1.csv"),
        own,
    )


# --- VoxCeleb1 --------------------------------------------------------------------------------------------------------


def held_out_clips(lists: Path) -> dict[str, list[tuple[str, int]]]:
    """Identity → (clip, frames) of vox-metadata.csv's test partition, each clip once.

    Identities must be among VoxCeleb1's 40 for testing. Two of them also have clips in the list's train partition,
    on which many published models were trained: they are left out.
    """
    with (lists / "voxceleb" / "vox-metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    trained = {row["person_id"] for row in rows if row["partition"] == "train"}
    clips: dict[str, dict[str, int]] = {}
    for row in rows:
        who, start, end = row["person_id"], int(row["start"]), int(row["end"])
        if row["partition"] == "test" and who in VOXCELEB1_TEST - trained:
            clips.setdefault(who, {})[f"{who}#{row['video_id']}#{start:06d}#{end:06d}"] = end - start
    return {who: sorted(clips[who].items()) for who in sorted(clips)}


def voxceleb(lists: Path) -> Iterator[Plan]:
    """The FOMM line's clips by name, and the official tree by rule."""
    clips = held_out_clips(lists)
    dataset = {"name": "voxceleb", "config": {"layout": "fomm", "split": "official"}}
    known = (
        f"Frozen. Clips of vox-metadata.csv (FOMM line) of {len(clips)} VoxCeleb1 test identities that the list does "
        "not also train on. Frame numbers are below the length that a clip's name states. "
    )
    own = [
        pair(name, name, index)
        for listed in clips.values()
        for name, frames in listed
        for index in evenly_spaced(1, frames, 2)
    ]
    yield Plan(
        known + "2 driving frames of each clip. Drawn by benchmarks/make_real_pairs.py.",
        protocol(
            "voxceleb1_fomm_self", "VoxCeleb1 test clips, self-reenactment", dataset, pairs="voxceleb1_fomm_self_v1.csv"
        ),
        own,
    )
    yield Plan(
        known + "For each ordered pair of identities 2 pairs of clips, 2 driving frames each. Drawn by "
        "benchmarks/make_real_pairs.py.",
        protocol(
            "voxceleb1_fomm_cross",
            "VoxCeleb1 test clips, cross-reenactment",
            dataset,
            pairs="voxceleb1_fomm_cross_v1.csv",
        ),
        list(_between_people(clips)),
    )
    official = {"name": "voxceleb", "config": {"layout": "official", "split": "official"}}
    for setting, rule in (("self", {"frames": 2}), ("cross", {"frames": 2, "partners": 1})):
        yield Plan(
            "A rule: the names of the official tree's clips are not at hand. All clips of the 40 test identities; "
            "`reenact-zoo data freeze` writes the pairs of your copy.",
            protocol(
                f"voxceleb1_official_{setting}",
                f"VoxCeleb1's 40 test identities, official tree, {setting}-reenactment",
                official,
                pair_rule={"split": "test", **rule},
            ),
        )


def _between_people(clips: Mapping[str, Sequence[tuple[str, int]]]) -> Iterator[Pair]:
    for source in clips:
        for driving in clips:
            if source == driving:
                continue
            both = [(a, b, frames) for a, _ in clips[source] for b, frames in clips[driving]]
            for a, b, frames in sorted(both, key=lambda each: name_order(each[0], each[1]))[:PAIRS_OF_CLIPS]:
                yield from (pair(a, b, index) for index in evenly_spaced(0, frames, 2))


# --- Celeb-DF and the two papers --------------------------------------------------------------------------------------

_OWN_FILES = "A rule: nobody may list this dataset's files; `reenact-zoo data freeze` writes the pairs of your copy. "
_YOUTUBE = "Only Celeb-real says who is shown; each YouTube-real video is a subject of its own and only drives. "


def celebdf() -> Iterator[Plan]:
    """Rules: sources are Celeb-real of the frozen test subjects."""
    dataset = {"name": "celebdf", "config": {"split": "dcg_gan"}}
    for setting, rule in (("self", {"frames": 4}), ("cross", {"frames": 2, "partners": PARTNERS})):
        yield Plan(
            f"{_OWN_FILES}{_YOUTUBE}Test subjects of the frozen 80/20 split.",
            protocol(
                f"celebdf_{setting}",
                f"Celeb-DF test subjects, {setting}-reenactment",
                dataset,
                pair_rule={"split": "test", "source": "Celeb-real/*", **rule},
            ),
        )


def dcg_gan() -> Iterator[Plan]:
    """The six (source, driving) combinations of Table 1 in the DCG-GAN paper."""
    parts = {
        "ffpp": {"compression": "c23", "sequences": ["youtube"], "split": "dcg_gan"},
        "celebdf": {"split": "dcg_gan"},
        "voxceleb1": {"split": "official"},
    }
    sources = {"ffpp": "*", "celebdf": "Celeb-real/*"}
    unsaid = "DCG-GAN's Table 1; how many pairs and which frames the paper does not say. "
    for source, driving in (
        ("ffpp", "ffpp"), ("celebdf", "celebdf"), ("ffpp", "celebdf"),
        ("celebdf", "ffpp"), ("ffpp", "voxceleb1"), ("celebdf", "voxceleb1"),
    ):  # fmt: skip
        name, title = f"dcg_gan_{source}_{driving}", f"DCG-GAN <{source}, {driving}>"
        if source == driving == "ffpp":
            fields = protocol(name, title, {"name": "ffpp", "config": parts["ffpp"]}, pairs=f"{name}_v1.csv")
            yield Plan(
                f"Frozen. {unsaid}200 test sequences of the frozen 80/20 split, {PARTNERS} driving sequences each, one "
                "frame. Drawn by benchmarks/make_real_pairs.py.",
                fields,
                list(_ffpp_subjects()),
            )
            continue
        rule = {"frames": 1, "split": "test", "partners": PARTNERS}
        if source == driving:
            dataset: dict[str, Any] = {"name": "celebdf", "config": parts["celebdf"]}
            rule["source"] = sources[source]
        else:
            joined = {key.removesuffix("1"): parts[key] for key in (source, driving)}
            dataset = {"name": "joined", "config": {"parts": joined}}
            rule |= {"source": f"{source}:{sources[source]}", "driving": f"{driving.removesuffix('1')}:*"}
        folders = "" if source == driving else "The root has a folder or link for each of the two datasets. "
        stills = "The paper drives by VoxCeleb1's official stills. " if driving == "voxceleb1" else ""
        youtube = _YOUTUBE if "celebdf" in (source, driving) else ""
        yield Plan(
            f"{_OWN_FILES}{unsaid}{folders}{stills}{youtube}".strip(), protocol(name, title, dataset, pair_rule=rule)
        )


def _ffpp_subjects() -> Iterator[Pair]:
    numbers = [number for i in range(1000) if dcg_gan_split("ffpp", number := f"{i:03d}") == "test"]
    assert len(numbers) == 200
    for source in numbers:
        others = sorted((n for n in numbers if n != source), key=lambda n: name_order(source, n))[:PARTNERS]
        for driving in others:
            # each of ten evenly spaced frames of a sequence is a picture of the paper's set; names choose one
            frames = evenly_spaced(0, FFPP_FRAMES, DCG_GAN_FRAMES)
            index = frames[int(name_order(driving, source)[:8], 16) % DCG_GAN_FRAMES]
            yield pair(f"youtube/{source}", f"youtube/{driving}", index)


def one_shot() -> Iterator[Plan]:
    """What is known of the in-the-wild setting: one source picture, other people's videos, no ground truth."""
    yield Plan(
        "A rule on videos of your own. The One-shot paper (Zhang et al.) reports identity preservation, consistency of "
        "action units and of pose on videos in the wild with one source picture; which videos, pairs and frames these "
        "were was not published.",
        protocol(
            "one_shot_wild",
            "One-shot's in-the-wild setting, as far as it is known",
            {"name": "clips"},
            pair_rule={"frames": 4, "partners": PARTNERS},
        ),
    )


def prepared() -> Iterator[Plan]:
    """Prepared data of any dataset: square already, so nothing is cropped again."""
    for setting, rule in (("self", {"frames": 16}), ("cross", {"frames": 4, "partners": PARTNERS})):
        yield Plan(
            "A rule on the output of `reenact-zoo data prepare`; the box policy of the preparation takes the crop's "
            "place.",
            protocol(
                f"prepared_{setting}",
                f"Prepared clips, {setting}-reenactment",
                {"name": "prepared"},
                pair_rule=rule,
                crop={"policy": "none"},
                version=1,
                metrics=BUNDLED_SELF if setting == "self" else BUNDLED_CROSS,
            ),
        )


def make(lists: Path, out: Path) -> list[Frozen]:
    """Write all protocols and pairs below ``out``."""
    plans = [*ffpp(lists), *voxceleb(lists), *celebdf(), *dcg_gan(), *one_shot(), *prepared()]
    return [
        write_frozen(out / "protocols", out / "pairs", plan.content, plan.comment, plan.pairs, replace=True)
        for plan in plans
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    for frozen in make(given.lists, given.out):
        print(f"{frozen.protocol_sha256[:12]}  {frozen.protocol.stem:28} {frozen.num_pairs or 'rule':>5}")


if __name__ == "__main__":
    main()

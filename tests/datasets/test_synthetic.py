"""The synthetic dataset: frames by index, truth of frames and of pairs, cache."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from reenact_zoo.data.generate import generate
from reenact_zoo.datasets._clip_cache import labels_from_parsing, parsing_from_labels
from reenact_zoo.datasets._packs import decode_flow, encode_flow, identity_flow
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.synthetic import Synthetic, SyntheticConfig, head_rotation_deg, relative_coefficients
from reenact_zoo.ops.rotation import matrix_from_euler
from reenact_zoo.registry import DATASETS
from reenact_zoo.types import TARGET_KEYS, InputError

CONFIG = SyntheticConfig(image_size=64, train_identities=3, val_identities=1, test_identities=2, frames=20)
A, B = FrameRef("test_000_0", 4), FrameRef("test_001_0", 11)
CACHED = replace(CONFIG, cache=True, frames=A.index + 2)  # the cache renders whole clips


@pytest.fixture(scope="module")
def heads() -> Synthetic:
    return Synthetic(CONFIG)


class Frames(Dataset):
    """Frames with their landmarks, for a DataLoader."""

    def __init__(self, dataset: Synthetic, refs: list[FrameRef]) -> None:
        self.dataset, self.refs = dataset, refs

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        ref = self.refs[index]
        return self.dataset.frame(ref), self.dataset.annotations(ref)["landmarks"]


def sampled(image: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.float32]:
    picture = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    moved = F.grid_sample(picture, torch.from_numpy(flow)[None], align_corners=False, padding_mode="border")
    return moved[0].permute(1, 2, 0).numpy()


# ---------------------------------------------------------------------- clips and frames


def test_the_registry_finds_it() -> None:
    assert DATASETS.get("synthetic") is Synthetic


def test_splits_share_no_person_and_no_appearance(heads: Synthetic) -> None:
    splits = {split: {c.identity for c in heads.clips if c.split == split} for split in ("train", "val", "test")}
    assert {k: len(v) for k, v in splits.items()} == {"train": 3, "val": 1, "test": 2}
    assert len(set.union(*splits.values())) == 6
    shapes = torch.stack([heads.head.layout.split(heads.coefficients(c.name)[0])["shape"] for c in heads.clips])
    assert torch.pdist(shapes).min() > 0.5


def test_frames_depend_on_neither_order_nor_company_nor_process(heads: Synthetic) -> None:
    refs = [FrameRef(c.name, k) for c in heads.clips[:2] for k in (0, 7, 13)]
    expected = {ref: heads.frame(ref) for ref in refs}
    other = pickle.loads(pickle.dumps(heads))
    for ref in reversed(refs):
        np.testing.assert_array_equal(other.frame(ref), expected[ref])
    loader = DataLoader(Frames(heads, refs), batch_size=None, num_workers=2)
    for ref, (image, points) in zip(refs, loader):
        np.testing.assert_array_equal(image, expected[ref])
        np.testing.assert_array_equal(points, heads.annotations(ref)["landmarks"])


def test_more_people_and_longer_clips_leave_frames_as_they_are(heads: Synthetic) -> None:
    larger = Synthetic(replace(CONFIG, test_identities=5, train_identities=1, clips=2, frames=50, split="test"))
    assert {c.split for c in larger.clips} == {"test"}
    np.testing.assert_array_equal(larger.frame(A), heads.frame(A))


def test_another_seed_or_clip_is_another_picture(heads: Synthetic) -> None:
    other = Synthetic(replace(CONFIG, seed=1, clips=2, split="test"))
    again = FrameRef("test_000_1", 4)
    assert np.abs(other.frame(A).astype(int) - heads.frame(A)).mean() > 10
    assert np.abs(other.frame(A).astype(int) - other.frame(again)).mean() > 10
    layout = heads.head.layout
    first, second = (layout.split(other.coefficients(name)[0]) for name in (A.clip, again.clip))
    assert torch.equal(first["shape"], second["shape"])
    assert torch.equal(first["texture"], second["texture"])
    assert not torch.equal(first["light"], second["light"])


def test_the_background_of_a_clip_never_moves(heads: Synthetic) -> None:
    frames = [FrameRef(A.clip, k) for k in (0, 9, 19)]
    bare = np.min([1 - heads.annotations(r)["matte"][0] for r in frames], axis=0) == 1
    assert 0.15 < bare.mean() < 0.7
    pictures = np.stack([heads.frame(r) for r in frames])[:, bare]
    assert np.ptp(pictures, axis=0).max() == 0
    assert pictures.std() > 5  # textured


def test_annotations_have_the_documented_form(heads: Synthetic) -> None:
    known = heads.annotations(A)
    assert known["landmarks"].shape == (68, 2)
    assert known["coefficients"].shape == (heads.head.layout.total,)
    assert known["parsing"].shape == (19, 64, 64)
    assert known["matte"].shape == (1, 64, 64)
    assert {v.dtype for v in known.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(known["parsing"].sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(1 - known["parsing"][0], known["matte"][0], atol=1 / 255)  # the matte is kept in 8 bits
    assert np.abs(known["landmarks"]).max() < 1.2


def test_shoulders_reach_the_lower_edge(heads: Synthetic) -> None:
    for clip in heads.clips:
        size = heads.motion(clip.name).position[:, 0]
        smallest = FrameRef(clip.name, int(size.argmin()))
        assert heads.annotations(smallest)["matte"][0, -1].max() == 1


def test_landmarks_lie_on_their_features(heads: Synthetic) -> None:
    for clip in heads.clips:
        motion = heads.motion(clip.name)
        index = int(np.argmin(np.abs(motion.rotation_deg[:, 0]) + 90 * motion.actions[:, 10]))  # frontal, eyes open
        known = heads.annotations(FrameRef(clip.name, index))
        points = ((known["landmarks"] + 1) * 64 - 1) / 2
        rows, columns = np.indices((64, 64))
        # the person's left eye (points 42-47) is class 4 and lies to the image's right
        for label, group in ((4, range(42, 48)), (5, range(36, 42)), (10, range(27, 36)), (2, range(22, 27))):
            share = known["parsing"][label]
            centre = np.array([(columns * share).sum(), (rows * share).sum()]) / share.sum()
            assert np.linalg.norm(points[list(group)].mean(axis=0) - centre) < 2.5, (clip.name, label)
        assert points[42:48, 0].mean() > points[36:42, 0].mean()


# ---------------------------------------------------------------------- truth of pairs


def test_a_frame_driven_by_itself_is_itself(heads: Synthetic) -> None:
    for reference in (None, A):
        truth = heads.cross_target(A, A, reference)
        difference = np.abs(truth["target"].astype(int) - heads.frame(A))
        assert difference.max() <= (0 if reference is None else 3)  # re-composing the rotation rounds in float32


def test_within_a_clip_the_driving_frame_is_the_target(heads: Synthetic) -> None:
    driving = FrameRef(A.clip, 15)
    np.testing.assert_array_equal(heads.cross_target(A, driving)["target"], heads.frame(driving))


def test_the_cross_target_has_the_sources_person_and_the_drivings_motion(heads: Synthetic) -> None:
    truth = heads.cross_target(A, B)
    assert set(truth) == TARGET_KEYS
    layout = heads.head.layout
    got = layout.split(torch.from_numpy(truth["target_coefficients"]))
    s, d = (layout.split(heads.coefficients(r.clip)[r.index]) for r in (A, B))
    for name in ("shape", "texture", "light"):
        assert torch.equal(got[name], s[name])
    for name in ("expression", "pose", "camera"):
        assert torch.equal(got[name], d[name])
    bare = (truth["target_matte"][0] == 0) & (truth["target_source_matte"][0] == 0)
    np.testing.assert_array_equal(truth["target"][bare], heads.frame(A)[bare])
    assert np.abs(truth["target"].astype(int) - heads.frame(B)).mean() > 5


def test_relative_motion_starts_at_the_source_and_adds_the_change(heads: Synthetic) -> None:
    reference = FrameRef(B.clip, 0)
    still = heads.target_coefficients(A, reference, reference)
    np.testing.assert_allclose(still, heads.coefficients(A.clip)[A.index], atol=2e-3)
    moved = heads.target_coefficients(A, B, reference)
    s, d, r = (matrix_from_euler(torch.from_numpy(heads.rotation_deg(x))) for x in (A, B, reference))
    got = matrix_from_euler(torch.from_numpy(head_rotation_deg(heads.head, moved)))
    np.testing.assert_allclose(got, d @ r.T @ s, atol=1e-4)
    coefficients = [heads.coefficients(x.clip)[x.index] for x in (A, B, reference)]
    absolute = heads.head.layout.mix(*coefficients[:2])
    assert not torch.allclose(relative_coefficients(heads.head, *coefficients), absolute)


def test_true_flow_carries_source_pixels_to_their_place(heads: Synthetic) -> None:
    """Light and shadow stay while the head turns, so colours agree only closely; a wrong flow misses by far."""
    near = FrameRef(A.clip, A.index + 3)
    truth = heads.cross_target(A, near)
    valid = truth["target_flow_valid"][0] == 1
    inside = valid & (truth["target_matte"][0] == 1)
    assert inside.mean() > 0.1
    moved = sampled(heads.frame(A), truth["target_flow"])
    error = np.abs(moved - truth["target"] / 255)
    assert np.median(error[inside]) < 0.03
    assert error[inside].mean() < 0.6 * np.abs(heads.frame(A) / 255.0 - truth["target"] / 255)[inside].mean()
    bare = valid & (truth["target_matte"][0] == 0) & (truth["target_source_matte"][0] == 0)
    assert error[bare].max() < 2e-3
    half_pixel = sampled(heads.frame(A), truth["target_flow"] + np.float32(1.5 / 64))
    assert np.abs(half_pixel - truth["target"] / 255)[inside].mean() > 1.15 * error[inside].mean()


def test_flow_survives_its_compact_form(heads: Synthetic) -> None:
    truth = heads.cross_target(A, FrameRef(A.clip, 15))
    again = decode_flow(encode_flow(truth["target_flow"], truth["target_flow_valid"]), 64)
    np.testing.assert_array_equal(again["target_flow_valid"], truth["target_flow_valid"])
    seen = truth["target_flow_valid"][0] == 1
    np.testing.assert_allclose(again["target_flow"][seen], truth["target_flow"][seen], atol=1.01 / 16 / 64)
    np.testing.assert_allclose(again["target_flow"][~seen], identity_flow(64)[~seen], atol=1e-6)
    np.testing.assert_allclose(identity_flow(4)[1, 2], [0.25, -0.25])  # pixel centres, x before y


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "flam"}, "head is procedural or ict"),
        ({"split": "testing"}, "split is"),
        ({"image_size": 8}, "at least 16"),
        ({"split": "val", "val_identities": 0}, "no identity"),
        ({"pack": "no_such_pack"}, "no_such_pack"),
    ],
)
def test_a_wrong_setting_is_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Synthetic(replace(CONFIG, **change))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ref", [FrameRef("test_000_0", 20), FrameRef("test_002_0", 0), FrameRef("nobody", 0)])
def test_an_unknown_frame_is_refused(heads: Synthetic, ref: FrameRef) -> None:
    with pytest.raises(InputError, match=r"frames 0 to 19|no clip"):
        heads.frame(ref)


# ---------------------------------------------------------------------- cache


@pytest.mark.parametrize("samples", [1, 4, 9])
def test_parsing_survives_its_compact_form(samples: int) -> None:
    rng = np.random.default_rng(samples)
    picked = rng.integers(0, 19, (samples, 5, 6))
    parsing = np.stack([(picked == k).mean(axis=0) for k in range(19)]).astype(np.float32)
    labels = labels_from_parsing(torch.from_numpy(parsing), samples)
    np.testing.assert_array_equal(labels, np.sort(picked, axis=0))
    np.testing.assert_allclose(parsing_from_labels(labels), parsing, atol=1e-6)


def test_cached_frames_equal_rendered_ones(heads: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path))
    cached = Synthetic(CACHED)
    for _ in range(2):
        np.testing.assert_array_equal(cached.frame(A), heads.frame(A))
        for name, value in heads.annotations(A).items():
            np.testing.assert_array_equal(cached.annotations(A)[name], value, err_msg=name)
        cached = pickle.loads(pickle.dumps(cached))  # now from disk
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".json"] == [f"{A.clip}.npy"]
    other = Synthetic(replace(CACHED, seed=5))
    assert not np.array_equal(other.frame(A), heads.frame(A))


def test_a_damaged_cache_file_is_made_again(heads: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path))
    cached = Synthetic(CACHED)
    cached.frame(A)
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:1000])
    np.testing.assert_array_equal(Synthetic(CACHED).frame(A), heads.frame(A))


# ---------------------------------------------------------------------- written out


def test_generated_clips_carry_their_truth(tmp_path: Path) -> None:
    out = tmp_path / "heads"
    assert generate(out, identities=2, frames=3, image_size=64, split="val", progress=False) == 2
    about = json.loads((out / "dataset.json").read_text())
    assert about["config"]["val_identities"] == 2
    with np.load(out / "val_001" / "val_001_0.npz", allow_pickle=False) as truth:
        assert truth["landmarks"].shape == (3, 68, 2)
        assert truth["parsing"].shape == truth["matte"].shape == (3, 64, 64)
    again = Synthetic(SyntheticConfig(**about["config"]))
    from reenact_zoo.video.read import open_frames

    frames = [f.image for f in open_frames(out / "val_001" / "val_001_0.mp4")]
    assert len(frames) == 3
    for index, image in enumerate(frames):
        assert np.abs(image.astype(int) - again.frame(FrameRef("val_001_0", index))).mean() < 10  # 4:2:0 chroma
    with pytest.raises(InputError, match="not an empty folder"):
        generate(out, identities=1, frames=1, progress=False)

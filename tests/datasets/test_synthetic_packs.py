"""Frozen pair lists of the synthetic protocols, and the pack of pictures and truth that ships with the package."""

from __future__ import annotations

import csv
import json
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from reenact_zoo.datasets._clip_cache import parsing_from_labels
from reenact_zoo.datasets._packs import Pack, decode_labels, encode_labels
from reenact_zoo.datasets.base import FrameRef
from reenact_zoo.datasets.synthetic import Synthetic, SyntheticConfig, head_rotation_deg

ROOT = Path(__file__).resolve().parents[2]
PAIRS = sorted((ROOT / "benchmarks" / "pairs").glob("synthetic_*.csv"))


def sampled(image: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.float32]:
    picture = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    moved = F.grid_sample(picture, torch.from_numpy(flow)[None], align_corners=False, padding_mode="border")
    return moved[0].permute(1, 2, 0).numpy()


# ---------------------------------------------------------------------- frozen lists and packs


@pytest.mark.parametrize("path", PAIRS, ids=lambda p: p.stem)
def test_frozen_pairs_are_stratified_and_of_test_people(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 200
    same = "self" in path.stem
    for row in rows:
        source, driving, reference = (FrameRef.parse(row[k]) for k in ("source", "driving", "driving_reference"))
        assert source.clip.startswith("test_")
        assert (source.clip == driving.clip) == same == (row["same_identity"] == "true")
        assert reference == FrameRef(driving.clip, 0)
    bins = np.histogram([float(r["delta_yaw_deg"]) for r in rows], (0, 15, 30, 60))[0]
    assert bins.min() >= 70
    assert max(Counter(r["source"] for r in rows).values()) <= 16


def test_the_listed_yaw_is_the_yaw_of_the_heads() -> None:
    dataset = Synthetic(SyntheticConfig(split="test", test_identities=60, frames=100))
    for path in PAIRS:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))[::40]
        for row in rows:
            source, driving, reference = (FrameRef.parse(row[k]) for k in ("source", "driving", "driving_reference"))
            target = dataset.target_coefficients(source, driving, reference if "relative" in path.stem else None)
            yaw = head_rotation_deg(dataset.head, target)[0] - dataset.rotation_deg(source)[0]
            assert abs(yaw) == pytest.approx(float(row["delta_yaw_deg"]), abs=0.01)


@pytest.fixture(scope="module")
def bundled() -> Synthetic:
    config = SyntheticConfig(head="ict", split="test", test_identities=60, frames=100, pack="synthetic_ict_v2")
    return Synthetic(config)


@pytest.mark.parametrize("size", [64, 128])
def test_the_pack_answers_every_listed_pair_without_a_head_model(
    size: int, monkeypatch: pytest.MonkeyPatch, bundled: Synthetic
) -> None:
    monkeypatch.setattr(Synthetic, "_ready", lambda self: pytest.fail("the head model was asked for"))
    bundled.config.image_size = size
    for path in PAIRS:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows):
            source, driving, reference = (FrameRef.parse(row[k]) for k in ("source", "driving", "driving_reference"))
            relative = reference if "relative" in path.stem else None
            assert bundled._pack is not None
            assert all(bundled._pack._has("frames", str(ref), size) for ref in (source, driving, reference))
            if number % 35 == 0:
                truth = bundled.cross_target(source, driving, relative)
                assert truth["target"].shape == (size, size, 3)
                assert truth["target_matte"].shape == truth["target_source_matte"].shape == (1, size, size)
                small = size == 64 and relative is None
                assert ("target_flow" in truth) == ("target_flow_valid" in truth) == small
                assert ("target_parsing" in truth) == (small or source.clip == driving.clip)
                known = bundled.annotations(driving)
                assert known["parsing"].shape == (19, size, size)
                bare = (truth["target_matte"][0] == 0) & (truth["target_source_matte"][0] == 0)
                error = np.abs(truth["target"].astype(int) - bundled.frame(source))[bare]
                assert error.mean() < 4  # JPEG only


def test_the_bundled_files_are_small_and_carry_the_notice() -> None:
    folder = ROOT / "reenact_zoo" / "bundled" / "pairs"
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 7_200_000
    pack = Pack.bundled("synthetic_ict_v2")
    assert json.loads(pack._zip.read("pack.json"))["native_size"] == 128
    for text in (pack._zip.read("LICENSE").decode(), (folder / "LICENSE_ict_facekit").read_text()):
        assert "MIT License" in text
        assert "Permission is hereby granted" in text


def test_the_pack_shows_what_the_renderer_draws(bundled: Synthetic, weights_folder: Path) -> None:
    """Fails when the pictures drift from the code: then raise VERSION and make pack and lists anew."""
    bundled.config.image_size = 128
    fresh = Synthetic(replace(bundled.config, pack="", image_size=128))
    ref = FrameRef.parse(next(iter(bundled._pack._rows["frames"])))  # type: ignore[union-attr]
    error = np.abs(fresh.frame(ref).astype(int) - bundled.frame(ref))
    assert error.mean() < 3
    for name, value in bundled.annotations(ref).items():
        if name in ("landmarks", "coefficients"):
            np.testing.assert_allclose(value, fresh.annotations(ref)[name], atol=2e-3)


def cross_pairs(step: int) -> list[tuple[FrameRef, FrameRef]]:
    """Some listed pairs of absolute motion: source, driving."""
    with next(path for path in PAIRS if path.stem.startswith("synthetic_cross_v")).open(newline="") as file:
        rows = list(csv.DictReader(file))[::step]
    return [(FrameRef.parse(row["source"]), FrameRef.parse(row["driving"])) for row in rows]


def test_flow_and_parsing_of_the_pack_fit_its_pictures(bundled: Synthetic) -> None:
    bundled.config.image_size = 64
    for source, driving in cross_pairs(30):
        truth = bundled.cross_target(source, driving)
        seen = (truth["target_flow_valid"][0] > 0) & (truth["target_matte"][0] == 1)
        assert 0.1 < seen.mean() < 0.9
        picture, still = truth["target"] / 255, bundled.frame(source) / 255
        moved = sampled(bundled.frame(source), truth["target_flow"])
        assert np.abs(moved - picture)[seen].mean() < 0.6 * np.abs(still - picture)[seen].mean()
        np.testing.assert_allclose(truth["target_parsing"].sum(axis=0), 1, atol=1e-6)
        np.testing.assert_allclose(1 - truth["target_parsing"][0], truth["target_matte"][0], atol=0.51)
        assert np.abs(1 - truth["target_parsing"][0] - truth["target_matte"][0]).mean() < 0.01


def test_flow_and_parsing_of_the_pack_are_those_of_a_fresh_render(bundled: Synthetic, weights_folder: Path) -> None:
    bundled.config.image_size = 64
    fresh = Synthetic(replace(bundled.config, pack=""))
    pair = cross_pairs(100)[1]
    kept, made = bundled.cross_target(*pair), fresh.cross_target(*pair)
    # of 4,096 pixels; another processor may round a point to the other side of an edge
    assert np.abs(kept["target_parsing"] - made["target_parsing"]).max(axis=0).astype(bool).sum() <= 8
    valid = kept["target_flow_valid"]
    assert (valid != made["target_flow_valid"]).sum() <= 8
    both = (valid * made["target_flow_valid"])[0] > 0
    moved_px = np.abs(kept["target_flow"] - made["target_flow"])[both] * 32
    assert np.quantile(moved_px, 0.999) <= 0.5 / 16 + 1e-3


def test_labels_of_targets_survive_their_packed_form() -> None:
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 19, (3, 4, 8, 8)).astype(np.uint8), axis=1)
    np.testing.assert_array_equal(decode_labels(encode_labels([parsing_from_labels(k) for k in labels]), 8), labels)


def test_a_pack_without_flow_and_labels_of_cross_targets_has_the_rest(tmp_path: Path) -> None:
    """Packs from before version 2 was completed stay of use."""
    source, driving = cross_pairs(100)[0]
    whole, path = Pack.bundled("synthetic_ict_v2"), tmp_path / "older.zip"
    with zipfile.ZipFile(path, "w") as file:
        wanted = ("pack.json", "truth.npz", f"frames/{source}.", f"frames/{driving}.", f"targets/{source}+{driving}.")
        for name in whole._zip.namelist():
            if name.startswith(wanted):
                file.writestr(name, whole._zip.read(name))
    known, all_of_it = (pack.target(source, driving, None, 64) for pack in (Pack(path), whole))
    assert known is not None
    assert all_of_it is not None
    assert set(all_of_it) - set(known) == {"target_flow", "target_flow_valid", "target_parsing"}
    for key, value in known.items():
        np.testing.assert_array_equal(value, all_of_it[key])

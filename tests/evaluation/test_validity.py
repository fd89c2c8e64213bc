"""The study of metrics: ladders that are wrong by what they say, and metrics whose rank is known beforehand."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_world import FakeMeasurer
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor

from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.datasets.synthetic import SyntheticConfig
from reenact_zoo.evaluation.validity import (
    PICTURE_LADDERS,
    AlteredPeople,
    Case,
    Validity,
    as_csv,
    ladder_correlations,
    sheet,
    validate,
    write_page,
)
from reenact_zoo.evaluation.validity.degradations import damped, jpeg, other_person, shift, turned
from reenact_zoo.faces.morphable import load_head
from reenact_zoo.faces.renderer import Renderer
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.ops.rotation import geodesic_deg
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

SIZE = 24


@dataclass
class RoughConfig:
    clips: int = 4
    truth: bool = True


class Rough(ClipDataset):
    """Every frame is a pattern of its own; so is every true target."""

    Config = RoughConfig

    def __init__(self, config: RoughConfig | None = None) -> None:
        self.config = config or RoughConfig()

    @property
    def clips(self) -> Sequence[Clip]:
        return [Clip(f"c{i}", f"person{i}", "", 4, Fraction(25)) for i in range(self.config.clips)]

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        return pattern(int(ref.clip[1:]) * 10 + ref.index)

    def cross_target(
        self, source: FrameRef, driving: FrameRef, driving_reference: FrameRef | None = None
    ) -> dict[str, NDArray[Any]]:
        seed = 1000 + int(source.clip[1:]) * 100 + int(driving.clip[1:]) * 10 + driving.index
        return {"target": pattern(seed)} if self.config.truth else {}

    def annotations(self, ref: FrameRef) -> dict[str, NDArray[Any]]:
        return {}


def pattern(seed: int) -> NDArray[np.uint8]:
    """(SIZE, SIZE, 3) blobs of a few pixels, so that every kind of fault changes it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


class Perfect(PairMetric):
    """Distance to the truth."""

    card = MetricCard("perfect", 1, "Perfect", "", False, "reenacted with true target", reads_target=True)

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        return (output.reenacted - batch["target"]).square().mean((1, 2, 3))


class Inverted(Perfect):
    """The same number, sold as a similarity."""

    card = MetricCard("inverted", 1, "Inverted", "", True, "reenacted with true target", reads_target=True)


class Similar(Perfect):
    """The distance as an honest similarity."""

    card = MetricCard("similar", 1, "Similar", "", True, "reenacted with true target", reads_target=True)

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        return -super().pair_values(batch, output)


class Blind(PairMetric):
    """Says the same of everything."""

    card = MetricCard("blind", 1, "Blind", "", True, "nothing")

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        return torch.full((len(output.reenacted),), 0.5)


class LooksAtDriving(PairMetric):
    """Distance to the driving frame, as a pose metric of a bad benchmark."""

    card = MetricCard("looks_at_driving", 1, "Driving", "", False, "reenacted with driving")

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        return (output.reenacted - batch["driving"]).square().mean((1, 2, 3))


class LooksAtSource(PairMetric):
    """Distance to the source."""

    card = MetricCard("looks_at_source", 1, "Source", "", False, "reenacted with source")

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        return (output.reenacted - batch["source"]).square().mean((1, 2, 3))


class Undirected(Perfect):
    card = MetricCard("undirected", 1, "Undirected", "", None, "reenacted alone")


class NeverThere(Perfect):
    card = MetricCard("never_there", 1, "Never", "", False, "a face nobody finds")

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        return torch.full((len(output.reenacted),), torch.nan)


KNOWN = ("Perfect", "Similar", "Inverted", "Blind", "LooksAtDriving", "LooksAtSource", "Undirected", "NeverThere")


def named(*names: str) -> list[str]:
    return [f"{__name__}:{name}" for name in names]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Validity:
    from fake_world import protocol_writer

    protocol = protocol_writer(tmp_path_factory.mktemp("rough"))(
        "rough", dataset={"name": f"{__name__}:Rough", "config": {}}, resolution=SIZE, pair_rule={"frames": 1}
    )
    return validate(protocol, metrics=named(*KNOWN), measurer=FakeMeasurer(), progress=False)


def row(study: Validity, name: str) -> Any:
    return next(row for row in study.metrics if row.name.endswith(f":{name}"))


# --- rank correlation -------------------------------------------------------------------------------------------------


def test_the_rank_correlation_is_that_of_scipy() -> None:
    generator = np.random.default_rng(3)
    bad = generator.integers(0, 4, (40, 6)).astype(np.float64)  # with ties
    bad[np.ptp(bad, axis=1) == 0, 0] += 1
    levels = (0.0, 1.0, 2.0, 2.0, 5.0, 10.0)
    expected = [spearmanr(row, levels).statistic for row in bad]
    np.testing.assert_allclose(ladder_correlations(bad, levels), expected, atol=1e-12)


def test_lost_rungs_are_left_out_and_a_constant_is_blind() -> None:
    nan = np.nan
    bad = np.array([[0, 1, 2, nan], [0, nan, nan, 1], [3, 3, 3, 3], [4, 3, 2, 1.0]])
    np.testing.assert_allclose(ladder_correlations(bad, (0, 1, 2, 3)), [1, nan, 0, -1])


# --- metrics whose rank is known --------------------------------------------------------------------------------------


def test_a_perfect_an_inverted_and_a_blind_metric_are_told_apart(study: Validity) -> None:
    assert study.num_pairs == study.total_pairs == 12
    for ladder in study.ladders:
        for name, expected in (("Perfect", 1), ("Similar", 1), ("Inverted", -1), ("Blind", 0)):
            found = row(study, name).ladders[ladder.name]
            assert (found.mean, found.n) == (pytest.approx(expected), 12), (ladder.name, name)
    best, worst = study.metrics[0], study.metrics[-1]
    assert best.overall.mean == pytest.approx(1)
    assert worst.name.endswith("Inverted")


def test_metrics_that_prefer_a_copy_are_exposed(study: Validity) -> None:
    wins = {
        name: [row(study, name).copies[f"copy_{role}"].win_rate for role in ("driving", "source")] for name in KNOWN[:6]
    }
    assert wins["Perfect"] == wins["Similar"] == [0, 0]
    assert wins["Inverted"] == [1, 1]
    assert wins["Blind"] == [0.5, 0.5]
    assert wins["LooksAtDriving"][0] == 1
    assert wins["LooksAtSource"][1] == 1
    assert {r.name.split(":")[1] for r in study.metrics if r.exposed} == {"Inverted", "LooksAtDriving"}


def test_what_cannot_be_judged_is_named(study: Validity) -> None:
    notes = " | ".join(study.notes)
    assert "Undirected: neither end is better" in notes
    assert "NeverThere: no value on these pictures" in notes
    assert "no ladders of identity, pose, expression: the data set renders no people" in notes


def test_protocols_without_a_truth_are_refused(write_protocol: Any) -> None:
    rough = {"name": f"{__name__}:Rough", "config": {"truth": False}}
    options: dict[str, Any] = {"metrics": named("Perfect"), "measurer": FakeMeasurer(), "progress": False}
    with pytest.raises(InputError, match="nobody knows the true pictures"):
        validate(write_protocol("untrue", dataset=rough, resolution=SIZE), limit=1, **options)
    with pytest.raises(InputError, match="takes cross pairs"):
        validate(write_protocol("selfish", setting="self"), **options)
    with pytest.raises(InputError, match="no metric is left to judge"):
        validate(write_protocol("rough", dataset=rough), **{**options, "metrics": named("Undirected")})


# --- what is written --------------------------------------------------------------------------------------------------


def test_table_csv_and_page_say_the_same(study: Validity, tmp_path: Path) -> None:
    page = write_page(study, tmp_path, "reenact-zoo validate-metrics rough --out docs")
    text = page.read_text(encoding="utf-8")
    rows = list(csv.DictReader(as_csv(study).splitlines()))
    assert (tmp_path / "metric_validity.csv").read_text() == as_csv(study)
    assert len(rows) == len(study.metrics) * (len(study.ladders) + 1 + 2)
    driving = next(r for r in rows if r["metric"].endswith("LooksAtDriving") and r["of"] == "copy_driving")
    assert (driving["quantity"], driving["value"], driving["pairs"]) == ("wins", "1.0", "12")
    lines = {line.name: line for line in sheet(study).lines}
    assert lines[f"{__name__}:LooksAtDriving"].counts == ("prefers the copy",)
    assert lines[f"{__name__}:Perfect"].counts == ("",)
    assert "1.00 [1.00, 1.00]" in text
    assert "reenact-zoo validate-metrics rough --out docs" in text
    assert f"`{__name__}:Inverted`" in text.split("Exposed:")[1].splitlines()[0]
    with Image.open(tmp_path / "pictures" / "metric_validity.png") as picture:
        assert picture.width > 600
    assert not list(tmp_path.rglob("*.part"))


# --- ladders ----------------------------------------------------------------------------------------------------------


def case(seed: int = 5) -> Case:
    target, driving = (torch.from_numpy(pattern(s).copy()).permute(2, 0, 1).float() / 255 for s in (seed, seed + 1))
    return Case(seed, "c0", target, driving)


@pytest.mark.parametrize("ladder", PICTURE_LADDERS, ids=lambda ladder: ladder.name)
def test_every_rung_of_a_picture_ladder_is_further_from_the_truth(ladder: Any) -> None:
    one = case()
    made = [ladder.rung(one, level) for level in ladder.levels]
    errors = [0.0, *((picture - one.target).square().mean().item() for picture in made)]
    assert all(a < b for a, b in pairwise(errors))
    assert all(p.shape == one.target.shape and p.min() >= 0 and p.max() <= 1 for p in made)
    assert all(torch.equal(picture, ladder.rung(one, level)) for picture, level in zip(made, ladder.levels))


def test_a_shift_moves_by_its_share_of_the_width() -> None:
    one = case()
    moved = shift(one, 100 * 3 / SIZE)
    torch.testing.assert_close(moved[..., 3:], one.target[..., :-3])


def test_jpeg_is_what_the_codec_writes() -> None:
    one = case()
    assert (jpeg(one, 0) - one.target).abs().mean() < 0.03  # quality 100 still halves the colours' resolution


@pytest.fixture(scope="module")
def people() -> AlteredPeople:
    world = AlteredPeople(SyntheticConfig(image_size=24, supersample=1, split="test", test_identities=2, frames=3))
    world._renderer = Renderer(
        load_head("procedural"), 24, supersample=1, texture_size=64
    )  # painting 256 takes seconds
    return world


@pytest.fixture(scope="module")
def known(people: AlteredPeople) -> Case:
    """A truth that is a frame: nothing but its own coefficients tells it from the true target of a pair."""
    source, driving = FrameRef("test_000_0", 0), FrameRef("test_001_0", 2)
    target = torch.from_numpy(people.frame(source)).permute(2, 0, 1).float() / 255
    coefficients = [people.coefficients(ref.clip)[ref.index] for ref in (source, driving)]
    return Case(0, source.clip, target, target, *coefficients)


def test_rendered_faults_are_as_large_as_they_say(people: AlteredPeople, known: Case) -> None:
    head, layout = people.head, people.head.layout
    assert known.coefficients is not None
    assert known.driving_coefficients is not None
    true, driving = layout.split(known.coefficients), layout.split(known.driving_coefficients)

    def changed(made: Tensor) -> set[str]:
        return {name for name, part in layout.split(made).items() if not torch.equal(part, true[name])}

    for level in (5.0, 20.0):
        made = turned(head, known, level)
        a, b = (head.head_rotation(layout.split(c)["pose"][None]) for c in (made, known.coefficients))
        assert geodesic_deg(a, b).item() == pytest.approx(level, abs=0.02)
        assert changed(made) == {"pose"}
        assert torch.equal(layout.split(made)["pose"][6:], true["pose"][6:])  # the gaze in the head stays
    made = damped(head, known, 25)
    torch.testing.assert_close(layout.split(made)["expression"], 0.75 * true["expression"])
    assert changed(made) == {"expression"}
    made = other_person(head, known, 100)
    assert changed(made) == {"shape", "texture"}
    torch.testing.assert_close(layout.split(made)["shape"], driving["shape"])
    half = layout.split(other_person(head, known, 50))["texture"]
    torch.testing.assert_close(half, (true["texture"] + driving["texture"]) / 2)


def test_unaltered_coefficients_draw_the_truth(people: AlteredPeople, known: Case) -> None:
    assert known.coefficients is not None
    assert torch.equal(people.picture(known.clip, known.coefficients), known.target)
    pose = next(ladder for ladder in people.ladders() if ladder.name == "pose")
    errors = [(pose.rung(known, level) - known.target).abs().mean().item() for level in (5, 20)]
    assert 0 < errors[0] < errors[1]

"""The page's content: one file, nothing fetched, every number from the records. ``test_report_browser`` uses it."""

from __future__ import annotations

import html
import json
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_world import FakeMeasurer
from report_world import LISTED, make_results
from torch import Tensor

from reenact_zoo.evaluation.comparison import Duel
from reenact_zoo.evaluation.gallery import flow_colours
from reenact_zoo.evaluation.records import Record, read_records
from reenact_zoo.evaluation.report import plots, write_report
from reenact_zoo.evaluation.report.pairs import gallery, pair_values
from reenact_zoo.evaluation.report.rivals import comparisons, duels, faces, matrix_cell
from reenact_zoo.evaluation.report.values import Values
from reenact_zoo.evaluation.runner import run
from reenact_zoo.evaluation.statistics import Difference
from reenact_zoo.evaluation.table import Column, ResultTable, build_table
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.types import InputError

TO_TARGET = "fake_world:ToTarget"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of results; read only."""
    return make_results(tmp_path_factory)


@pytest.fixture(scope="module")
def text(world: Path) -> str:
    """The page."""
    return write_report(world).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def listed(world: Path) -> tuple[ResultTable, list[Values]]:
    """Table and values of the protocol in which much is known."""
    table = build_table([r for r in read_records(world) if r.protocol == LISTED])
    return table, [Values.of(row.record) for row in table.rows]


def of(world: Path, title: str) -> Record:
    return next(r for r in read_records(world) if r.protocol == LISTED and r.title == title)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_fetches_nothing(text: str) -> None:
    links = _Links()
    links.feed(text)
    assert all(link.startswith(("data:", "#")) for link in links.found)
    assert not re.search(r"@import|url\((?!['\"]?(data:|#))|\bfetch\(|XMLHttpRequest|\bimport\(", text)
    assert links.tags.count("section") == 3  # two protocols and the conditions


def test_text_from_files_is_escaped(text: str) -> None:
    assert "Some &amp; &lt;few&gt; pairs" in text
    assert "p<0>" not in text


def test_every_mean_and_interval_of_the_records_is_on_the_page(text: str, world: Path) -> None:
    shown = [v for r in read_records(world) for v in r.metrics.values() if v.mean is not None]
    assert len(shown) > 20
    for result in shown:
        assert f'<span class="val">{result.mean:.3f}</span>' in text
        if result.low is not None:
            assert f'<span class="ci">{result.low:.3f} … {result.high:.3f}</span>' in text
    assert any(result.low is not None for result in shown)


def test_rows_bear_their_labels_and_bounds_stand_apart(text: str) -> None:
    assert '<tr data-method="shifted">' in text
    assert '<tr data-method="flowing">' in text
    assert '<tr data-method="blur_ceiling" class="bound">' in text
    assert "is the truth at half its resolution" in text


def test_the_share_of_found_faces_stands_beside_the_metric(text: str) -> None:
    assert '<span class="found">faces: 60 %</span>' in text  # two of five are too bright for the detector


def test_means_by_turn_are_those_of_the_pairs(world: Path) -> None:
    record = of(world, "fake_world:Source")
    values = Values.of(record)
    assert values.counts() == [2, 1, 2]  # 0, 10 | 20 | 30, 40: an edge belongs to the bin above it
    of_pairs = record.pair_values().column("metric:fake_world:Level").to_pylist()
    assert values.by_yaw("fake_world:Level") == pytest.approx(
        [np.mean(of_pairs[:2]), of_pairs[2], np.mean(of_pairs[3:])]
    )
    assert [values.bin_of(f"p<{i}>") for i in range(5)] == [0, 0, 1, 2, 2]


def test_the_values_of_all_pairs_are_in_the_page(text: str, world: Path) -> None:
    found = [
        json.loads(part) for part in re.findall(r'<script type="application/json" class="data">(.*?)</script>', text)
    ]
    data = next(part for part in found if "shifted" in part["rows"])
    record = of(world, "shifted")
    metric = [m["name"] for m in data["metrics"]].index(TO_TARGET)
    shown = data["values"][metric][data["rows"].index("shifted")]
    assert shown == pytest.approx(record.pair_values().column(f"metric:{TO_TARGET}").to_pylist(), rel=1e-5)
    assert shown == pytest.approx([80 / 255, 80 / 255, 140 / 255, 80 / 255, 90 / 255], rel=1e-4)
    assert data["failed"][data["rows"].index("fake_world:NaNOnBright")] == [1, 4]
    assert data["values"][metric][data["rows"].index("fake_world:NaNOnBright")][1] is None
    assert data["competes"] == [True, True, True, True, True, False]  # the bound comes last
    assert (data["yaw"], data["bins"]) == ([0, 10, 20, 30, 40], [1, 1, 2, 3, 3])
    assert "fake_world:Spread" not in [m["name"] for m in data["metrics"]]  # one number for all pairs


def test_a_row_of_fewer_pairs_has_no_values_on_the_others(listed: tuple[ResultTable, list[Values]]) -> None:
    table, values = listed
    first = values[0]
    short = Values(first.pair_ids[:2], first.delta_yaw_deg[:2], {n: v[:2] for n, v in first.metrics.items()}, [""] * 2)
    data = pair_values(table, [short, *values[1:]])
    assert len(data["pairs"]) == 5
    assert [v is None for v in data["values"][0][0]] == [False, False, True, True, True]


def test_what_a_method_gives_beside_its_picture_is_shown(text: str, listed: tuple[ResultTable, list[Values]]) -> None:
    pictures = gallery(*listed)
    rows = [row.record.title for row in listed[0].rows]
    beside = {name: set(pictures[0]["outputs"][i]["aux"]) for i, name in enumerate(rows)}
    assert beside.pop("flowing") == {"flow", "mask"}  # "warped" has no picture's shape
    assert not any(beside.values())
    assert text.count('data-aux="flow"') == 5
    assert '<option value="mask">mask</option>' in text


def test_differences_between_methods_are_those_of_the_pairs(listed: tuple[ResultTable, list[Values]]) -> None:
    table, _ = listed
    matrix = next(d for d in duels(table, comparisons(table)) if d["name"] == TO_TARGET)
    assert "blur_ceiling" not in matrix["titles"]
    place = matrix["titles"].index
    cells = matrix["rows"][place("fake_world:Source")]["cells"]
    assert cells[place("fake_world:Source")] is None
    assert cells[place("shifted")]["mean"] == f"{(116 - 470) / 5 / 255:+.4f}"  # sums of errors in grey levels
    assert cells[place("shifted")]["wins"] == "better on 100 % of 5"
    back = matrix["rows"][place("shifted")]["cells"][place("fake_world:Source")]
    assert back["mean"] == f"{(470 - 116) / 5 / 255:+.4f}"
    assert cells[place("fake_world:NaNOnBright")]["wins"] == "better on 50 % of 3"  # only pairs that both have


@pytest.mark.parametrize(
    ("higher", "mean", "p", "turned", "verdict"),
    [
        (False, -0.2, 0.01, False, "better"),
        (False, -0.2, 0.01, True, "worse"),
        (True, -0.2, 0.01, False, "worse"),
        (True, 0.2, 0.049, False, "better"),
        (True, 0.2, 0.05, False, "open"),
        (None, 0.2, 0.01, False, "differs"),
        (True, 0.2, None, False, "untested"),
    ],
)
def test_a_cell_says_which_is_better_where_the_corrected_p_allows(
    higher: bool | None, mean: float, p: float | None, turned: bool, verdict: str
) -> None:
    column = Column("m", {"title": "M", "unit": "", "digits": 2, "higher_is_better": higher})
    found = Difference(8, mean, mean - 0.1, mean + 0.05, None if higher is None else 0.75, p=0.001)
    cell = matrix_cell(column, Duel("a", "b", found, p_holm=p), turned=turned)
    assert cell["verdict"] == verdict
    if turned:
        assert (cell["mean"], cell["interval"]) == ("+0.200", "[+0.150, +0.300]")
        assert cell["wins"] == "better on 25 % of 8"


def test_lost_faces_are_counted_in_every_reading(listed: tuple[ResultTable, list[Values]]) -> None:
    table, _ = listed
    (entry,) = faces(table, comparisons(table))
    rows = {row["name"]: row for row in entry["rows"]}
    assert entry["common"] == 2  # pairs 0 and 3: the others fail or are too bright somewhere
    assert (rows["shifted"]["found"], rows["shifted"]["lost"]) == ("60.0 %", 2)
    assert rows["shifted"]["of_common"] == f"{57 / 255:.3f}"
    assert rows["shifted"]["penalised"] == f"{(3 * 57 / 255 + 2) / 5:.3f}"
    assert rows["shifted"]["of_found"] == f"{57 / 255:.3f} (n = 3)"
    assert rows["fake_world:Source"]["lost"] == 0


def test_conditions_of_every_run_are_on_the_page(text: str, world: Path) -> None:
    record = of(world, "fake_world:NaNOnBright")
    assert "2: 2 × the reenacted picture contains NaN" in html.unescape(text)
    for fact in (record.pairs_hash[:12], record.protocol_hash[:12], record.conditions.commit[:12], "by=0.4"):
        assert fact in text


def test_the_truth_has_a_column_only_where_it_is_known(write_protocol: Any, tmp_path: Path) -> None:
    blind = write_protocol("blind", dataset_truth=False)
    run(blind, "fake_world:Source", out=tmp_path, progress=False, measurer=FakeMeasurer())
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert '<span class="in">truth</span>' not in text
    assert "nobody knows the true pictures" in text
    assert 'class="matrix"' not in text  # nobody to compare with
    run(write_protocol("known"), "fake_world:Source", out=tmp_path, progress=False, measurer=FakeMeasurer())
    assert write_report(tmp_path).read_text(encoding="utf-8").count('<span class="in">truth</span>') == 1


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run a benchmark first"):
        write_report(tmp_path)


@pytest.mark.parametrize("kind", ["source", "flow"])
def test_a_lost_picture_is_named(world: Path, tmp_path: Path, kind: str) -> None:
    shutil.copytree(world, tmp_path / "copy")
    lost = next((tmp_path / "copy").glob(f"gallery/*{LISTED}*/**/*.{kind}.png"))
    lost.unlink()
    with pytest.raises(InputError, match=re.escape(lost.name)):
        write_report(tmp_path / "copy")


def moved(x: float, y: float) -> Tensor:
    return identity_grid(2, 2) + torch.tensor([x, y])


@pytest.mark.parametrize(
    ("flow", "colour"),
    [
        (moved(0, 0), [1, 1, 1]),
        (moved(torch.nan, 0), [1, 1, 1]),
        (moved(0.5, 0), [1, 0, 0]),
        (moved(2, 0), [1, 0, 0]),
        (moved(0.25, 0), [1, 0.5, 0.5]),
        (moved(0, 0.5), [0.5, 1, 0]),
        (moved(-0.5, 0), [0, 1, 1]),
    ],
)
def test_a_flow_is_drawn_by_direction_and_distance(flow: Tensor, colour: list[float]) -> None:
    torch.testing.assert_close(flow_colours(flow), torch.tensor(colour)[:, None, None].expand(3, 2, 2).float())


def test_a_drawing_is_valid_xml_and_takes_its_colours_from_the_page() -> None:
    series = [plots.Series("a_b", "--method-0"), plots.Series("copy", "--bound-4", dashed=True)]
    values = [np.array([1.0, 2.0, np.nan]), np.array([np.nan])]
    drawing = plots.metric_plot(series, values, [[1.0, np.nan], [np.nan, np.nan]], ("0–15°", "15–30°"), salt="x")
    ET.fromstring(drawing.replace("xlink:href", "href"))
    assert "var(--method-0)" in drawing
    assert not re.search(r"#[0-9a-f]{6}(?![0-9a-f])", re.sub(r'(id|href|clip-path)="[^"]*"', "", drawing))
    again = plots.metric_plot(series, values, [[1.0, np.nan], [np.nan, np.nan]], ("0–15°", "15–30°"), salt="x")
    assert drawing == again


def test_a_metric_of_all_pairs_together_is_drawn_by_its_one_number() -> None:
    series, blank = [plots.Series("a", "--method-0")], [np.array([np.nan])]
    assert "var(--method-0)" not in plots.metric_plot(series, blank, [], (), salt="x")
    assert "var(--method-0)" in plots.metric_plot(series, blank, [], (), salt="x", means=[3.0])

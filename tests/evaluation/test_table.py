"""Tables from records: ranks, refusals, and the four forms."""

from __future__ import annotations

import csv
import dataclasses
import io
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console

from reenact_zoo.evaluation.records import Conditions, MetricResult, Record
from reenact_zoo.evaluation.table import ResultTable, build_table
from reenact_zoo.types import InputError


def card(name: str, higher: bool | None, **changes: Any) -> dict[str, Any]:
    plain = {"name": name, "version": 1, "title": name.upper(), "unit": "", "higher_is_better": higher, "digits": 2}
    return {**plain, "compares": "", "weights": {}, **changes}


def record(method: str, l1: float | None = 0.5, cosine: float | None = 0.5, **changes: Any) -> Record:
    metrics = {
        "l1": MetricResult(card("l1", False), l1, 0.1, n=10) if l1 is not None else MetricResult(card("l1", False)),
        "cosine": MetricResult(card("cosine", True, unit="%"), cosine, None, n=10, missing=2),
        "size": MetricResult(card("size", None), 3.0, 1.0, n=10),
        "lpips": MetricResult(card("lpips", False), unavailable="needs alex.pth (9 MB)"),
    }
    fields: dict[str, Any] = {
        "method": method,
        "config": {},
        "weights": "",
        "protocol": "p_64",
        "protocol_content": {"version": 2, "title": "Some pairs", "annotations": "estimated"},
        "protocol_hash": "a" * 64,
        "pairs_hash": "b" * 64,
        "num_pairs": 12,
        "num_failed": 0,
        "failures": {},
        "partial": False,
        "detection_rate": 0.75,
        "metrics": metrics,
        "gallery": [],
        "conditions": Conditions({}, "", "CPU", 1, "", 1.0, 0.5, 0.1, 10.0, 100.0),
    }
    return Record(**{**fields, **changes})


def ranks(table: ResultTable, name: str) -> dict[str, int | None]:
    i = [column.name for column in table.columns].index(name)
    return {row.record.method: row.cells[i].rank for row in table.rows}


def test_ranks_follow_the_direction_and_bounds_do_not_compete() -> None:
    table = build_table([record("a", 0.3, 0.9), record("b", 0.2, 0.5), record("copy_source", 0.1, 1.0)])
    assert ranks(table, "l1") == {"a": 2, "b": 1, "copy_source": None}
    assert ranks(table, "cosine") == {"a": 1, "b": 2, "copy_source": None}
    assert ranks(table, "size") == {"a": None, "b": None, "copy_source": None}


def spread(method: str, low: float, high: float) -> Record:
    made = record(method)
    made.metrics["l1"] = MetricResult(card("l1", False), (low + high) / 2, 0.1, low, high, n=10)
    return made


def test_overlapping_intervals_share_a_rank_and_a_note_says_how_to_read_it() -> None:
    rows = [spread("a", 0.10, 0.20), spread("b", 0.19, 0.30), spread("c", 0.25, 0.40), spread("d", 0.41, 0.50)]
    table = build_table(rows)
    assert ranks(table, "l1") == {"a": 1, "b": 1, "c": 2, "d": 4}
    assert any("share a rank where their 95 % intervals overlap" in note for note in table.notes)
    assert not any("overlap" in note for note in build_table([record("a", 0.3), record("b", 0.2)]).notes)


def test_a_single_overlap_of_intervals_is_no_win_in_either_direction() -> None:
    better = spread("a", 0.10, 0.20)
    better.metrics["cosine"] = MetricResult(card("cosine", True, unit="%"), 0.7, 0.1, 0.65, 0.75, n=10)
    worse = spread("b", 0.19, 0.30)
    worse.metrics["cosine"] = MetricResult(card("cosine", True, unit="%"), 0.5, 0.1, 0.45, 0.55, n=10)
    assert ranks(build_table([better, worse]), "cosine") == {"a": 1, "b": 2}


def test_values_that_look_equal_share_a_rank() -> None:
    table = build_table([record("a", 0.301), record("b", 0.299), record("c", 0.4)])
    assert ranks(table, "l1") == {"a": 1, "b": 1, "c": 3}


def test_one_method_alone_wins_nothing() -> None:
    assert ranks(build_table([record("a"), record("copy_driving")]), "l1")["a"] is None


def test_a_method_without_a_value_is_not_ranked_and_shows_a_dash() -> None:
    table = build_table([record("a", None), record("b"), record("c", 0.6)])
    assert ranks(table, "l1") == {"a": None, "b": 1, "c": 2}
    assert table.rows[0].cells[0].text == "–"


def test_oracle_rows_are_marked_and_never_ranked() -> None:
    oracle = record("a", 0.1, protocol_content={"version": 2, "title": "", "annotations": "oracle"})
    table = build_table([oracle, record("b"), record("c", 0.6)])
    assert ranks(table, "l1") == {"a": None, "b": 1, "c": 2}
    assert "a (oracle)" in table.markdown()


def test_a_partial_row_among_whole_ones_is_marked_and_not_ranked() -> None:
    part = record("a", 0.1, partial=True, pairs_hash="c" * 64)
    table = build_table([part, record("b"), record("c", 0.6)])
    assert ranks(table, "l1") == {"a": None, "b": 1, "c": 2}
    assert "a (partial)" in table.latex()


def test_bounds_made_from_the_truth_stand_last_in_their_order_and_compete_with_nobody() -> None:
    made = ["bound:mean_face", "b", "bound:blur_ceiling", "copy_source", "bound:oracle_warp", "a"]
    table = build_table([record(method, 0.1 + 0.1 * i) for i, method in enumerate(made)])
    assert [row.name for row in table.rows] == ["a", "b", "copy_source", "blur_ceiling", "oracle_warp", "mean_face"]
    assert {name for name, rank in ranks(table, "l1").items() if rank} == {"a", "b"}
    assert [row.bound for row in table.rows] == [False, False, True, True, True, True]
    ends = "copy_source, blur_ceiling, oracle_warp, mean_face"
    assert any("not ranked" in note and note.endswith(ends) for note in table.notes)


def test_rows_are_called_by_label_and_seed() -> None:
    table = build_table([record("a", 0.3, label="a-small"), record("a", 0.2), record("a", 0.4, seed=2)])
    assert [row.name for row in table.rows] == ["a", "a, seed 2", "a-small"]
    assert [row.cells[0].rank for row in table.rows] == [1, 3, 2]


def test_lost_faces_stand_beside_the_value_and_the_penalised_mean_in_a_note() -> None:
    lossy, sound = record("a"), record("b")
    lossy.metrics["cosine"] = dataclasses.replace(
        lossy.metrics["cosine"], detection_rate=0.8, lost=2, mean_penalised=0.4
    )
    sound.metrics["cosine"] = dataclasses.replace(sound.metrics["cosine"], detection_rate=1.0, mean_penalised=0.5)
    table = build_table([lossy, sound])
    assert [row.cells[1].text for row in table.rows] == ["0.50 (80 %)", "0.50"]
    assert "COSINE [%], a lost face counted as the card says: a 0.40, b 0.50" in table.notes
    assert any("share of pairs in which the metric found the face" in note for note in table.notes)
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    lost = {row["method"]: (row["detection_rate"], row["lost"], row["mean_penalised"]) for row in rows[1::3]}
    assert lost == {"a": ("0.8", "2", "0.4"), "b": ("1.0", "0", "0.5")}


def test_equally_partial_rows_compete_and_the_title_says_so() -> None:
    table = build_table([record("a", 0.1, partial=True), record("b", partial=True)])
    assert ranks(table, "l1") == {"a": 1, "b": 2}
    assert "first 12 pairs only" in table.title


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (record("b", protocol="q"), "one table, one protocol"),
        (record("b", protocol_hash="f" * 64), "different contents of protocol 'p_64'"),
        (record("b", pairs_hash="f" * 64), "on different pairs"),
    ],
)
def test_records_that_measure_different_things_share_no_table(second: Record, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_table([record("a"), second])


@pytest.mark.parametrize("changes", [{"version": 2}, {"compares": "others"}, {"unit": "px"}])
def test_numbers_under_different_cards_share_no_column(changes: dict[str, Any]) -> None:
    other = record("b")
    other.metrics["l1"] = dataclasses.replace(other.metrics["l1"], card=card("l1", False, **changes))
    with pytest.raises(InputError, match=r"'l1' of 'a' and of 'b' are under different cards \(" + next(iter(changes))):
        build_table([record("a"), other])


def judged_at(method: str, started: str, sha: str, cosine: float = 0.5) -> Record:
    conditions = Conditions({}, "", "CPU", 1, started, 1.0, 0.5, 0.1, 10.0, 100.0)
    made = record(method, 0.5, cosine, conditions=conditions)
    made.metrics["cosine"].card["weights"] = {"judge": sha, "landmarks": "same"}
    return made


def test_a_changed_weight_file_empties_exactly_its_older_cells() -> None:
    old, new, newest = (
        judged_at("a", "2026-01-01", "1"),
        judged_at("b", "2026-01-02", "2"),
        judged_at("c", "2026-01-03", "2"),
    )
    table = build_table([old, new, newest])
    cells = {row.record.method: [cell.text for cell in row.cells] for row in table.rows}
    names = [column.name for column in table.columns]
    assert [cells[method][names.index("cosine")] for method in "abc"] == ["–", "0.50", "0.50"]
    assert [cells[method][names.index("l1")] for method in "abc"] == ["0.50 ± 0.10"] * 3
    assert ranks(table, "cosine") == {"a": None, "b": 1, "c": 1}
    assert any("'a' was measured with another judge than 'c'; run it again" in note for note in table.notes)
    assert old.metrics["cosine"].mean == 0.5, "the record itself stays as it was"


def test_no_record_is_the_users_mistake() -> None:
    with pytest.raises(InputError, match="no records"):
        build_table([])


def test_notes_say_what_is_absent_and_why() -> None:
    notes = build_table([record("a", num_failed=3, failures={"no face found in driving": 3})]).notes
    assert "lpips: unavailable: needs alex.pth (9 MB)" in notes
    assert "a: 3 failed: no face found in driving" in notes
    assert "a: no face or no truth in 2 pairs, which have no value for cosine" in notes


def test_research_only_weights_are_named_with_their_metrics() -> None:
    made = record("a")
    about = {
        "dlib_68": {"licence": "research only", "permissive": False},
        "judge": {"licence": "MIT", "permissive": True},
    }
    for name in ("l1", "cosine", "lpips"):  # lpips has no value
        made.metrics[name].card["licences"] = about
    notes = build_table([made]).notes
    assert "l1, cosine: with research-only weights 'dlib_68'" in notes
    assert not any("judge" in note for note in notes)


def test_markdown_marks_best_and_second() -> None:
    text = build_table([record("a", 0.3), record("b", 0.2)]).markdown()
    head, _, first, second = text.splitlines()[2:6]
    assert head == "| method | L1 ↓ | COSINE [%] ↑ | SIZE | pairs | failed | face found |"
    assert first.startswith("| a | <u>0.30 ± 0.10</u> | **0.50** | 3.00 ± 1.00 | 12 | 0 | 75.0 % |")
    assert second.startswith("| b | **0.20 ± 0.10** |")


def test_latex_is_booktabs_and_escaped() -> None:
    text = build_table([record("my_method", 0.3), record("b", 0.2)]).latex()
    assert r"\toprule" in text
    assert r"my\_method & \underline{0.30 $\pm$ 0.10} & " in text
    assert r"Method & L1 $\downarrow$ & COSINE [\%] $\uparrow$ & SIZE \\" in text
    assert text.count("&") == 3 * 3


def test_csv_keeps_full_precision_and_counts() -> None:
    rows = list(csv.DictReader(io.StringIO(build_table([record("a", 1 / 3)]).csv())))
    assert [row["metric"] for row in rows] == ["l1", "cosine", "size"]
    assert float(rows[0]["mean"]) == 1 / 3
    assert (rows[0]["card"], rows[0]["direction"], rows[1]["missing"], rows[1]["std"]) == ("l1.v1", "↓", "2", "")


def test_the_terminal_table_shows_methods_values_counts_and_notes() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    build_table([record("a", 0.3), record("copy_source", 0.2)]).print(console)
    text = console.export_text()
    for shown in ("p_64 v2: Some pairs", "0.30 ± 0.10", "COSINE [%] ↑", "75.0 %", "needs alex.pth", "not ranked"):
        assert shown in text


class Cells(HTMLParser):
    """Text of every table cell with the tags it is set in; fails on a tag that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.styles: dict[str, str] = {}

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data
            self.styles[data] = self.open[-1]


def test_html_is_well_formed_escaped_and_marks_best_second_and_bounds() -> None:
    title = {"version": 2, "title": "<Some> & pairs", "annotations": "estimated"}
    rows = [record("a<b>", 0.3), record("c", 0.2), record("copy_source", 0.1)]
    table = build_table([dataclasses.replace(row, protocol_content=title) for row in rows])
    page = Cells()
    page.feed(table.html())
    assert not page.open
    assert "&lt;Some&gt; &amp; pairs</caption>" in table.html()
    assert page.rows[0] == ["method", "L1 ↓", "COSINE [%] ↑", "SIZE", "pairs", "failed", "face found"]
    assert [row[:2] for row in page.rows[1:]] == [
        ["a<b>", "0.30 ± 0.10"],
        ["c", "0.20 ± 0.10"],
        ["copy_source", "0.10 ± 0.10"],
    ]
    styles = [page.styles[text] for text in ("0.20 ± 0.10", "0.30 ± 0.10", "0.10 ± 0.10", "copy_source", "c")]
    assert styles == ["strong", "u", "td", "em", "th"]


def test_markdown_and_latex_survive_names_with_signs_of_their_own() -> None:
    table = build_table([record("One-shot*", 0.3), record("a|b_{c}", 0.2)])
    assert "| One-shot\\* |" in table.markdown()
    assert "| a\\|b_{c} |" in table.markdown()
    assert r"a|b\_\{c\}" in table.latex()

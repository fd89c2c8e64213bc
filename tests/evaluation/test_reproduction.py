"""Verdicts on published numbers: every kind of verdict from records made by hand, and the forms they are shown in."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from reenact_zoo.cli import app
from reenact_zoo.evaluation.paper import Doubt, Paper, PaperColumn, PaperRow, PaperSetting, PaperTable
from reenact_zoo.evaluation.records import Conditions, MetricResult, Record
from reenact_zoo.evaluation.reproduction import Check, Reproduction, Verdict, forms, reproduce

PROTOCOL = "dcg_gan_ffpp_ffpp"


class Bare:
    """A machine without any instrument's weights."""

    def missing(self, quantity: str) -> str | None:
        return f"weights '{quantity}' (a.pth, 3 MB, MIT)"


def made_up(cell: str = "0.50±0.10", **column: Any) -> Paper:
    table = PaperTable(
        "Numbers",
        "Table 1",
        columns={"pose": PaperColumn("Pose", False, **{"metric": "pose_3ddfa_v2", **column})},
        settings={"ff": PaperSetting("<FF++, FF++>", protocol=PROTOCOL)},
        rows={"a": PaperRow("Copy*", "copy_source"), "b": PaperRow("FOMM", "a_method_of_later_versions")},
        cells={"ff": {"a": {"pose": cell}}},
    )
    return Paper("made_up", "A paper", "Nobody", "nowhere", {"t": table})


def record(result: MetricResult | None, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "method": "copy_source",
        "config": {"gen": {"afm": "on"}},
        "weights": "",
        "protocol": PROTOCOL,
        "protocol_content": {"version": 1, "title": "", "annotations": "estimated"},
        "protocol_hash": "a" * 64,
        "pairs_hash": "b" * 64,
        "num_pairs": 12,
        "num_failed": 0,
        "failures": {},
        "partial": False,
        "detection_rate": 1.0,
        "metrics": {} if result is None else {"pose_3ddfa_v2": result},
        "gallery": [],
        "conditions": Conditions({}, "", "CPU X", 1, "", 1.0, 0.5, 0.1, 4.0, 100.0),
    }
    return Record(**{**fields, **changes})


def result(mean: float | None, low: float | None, high: float | None, **changes: Any) -> MetricResult:
    return MetricResult({"unit": "deg", "digits": 2}, mean, 0.2, low, high, n=12, **changes)


def only(paper: Paper, *records: Record) -> Check:
    (check,) = reproduce(paper, "t", records, Bare()).checks
    return check


@pytest.mark.parametrize(
    ("printed", "low", "high", "verdict"),
    [
        ("0.50±0.10", 0.45, 0.60, Verdict.REPRODUCED),
        ("0.50±0.10", 0.5049, 0.60, Verdict.REPRODUCED),  # 0.5049 is printed as 0.50
        ("0.50±0.10", 0.5051, 0.60, Verdict.OFF),
        ("0.50±0.10", 0.30, 0.4949, Verdict.OFF),
        ("0.5", 0.54, 0.60, Verdict.REPRODUCED),  # one decimal: anything from 0.45 to 0.55 is printed so
        ("0.5", 0.551, 0.60, Verdict.OFF),
    ],
)
def test_reproduced_means_that_the_interval_touches_what_prints_as_the_papers_number(
    printed: str, low: float, high: float, verdict: Verdict
) -> None:
    check = only(made_up(printed), record(result((low + high) / 2, low, high)))
    assert check.verdict is verdict
    assert check.difference == pytest.approx((low + high) / 2 - 0.5)
    assert check.reasons == ()


def test_off_says_by_how_much_and_which_way() -> None:
    made = reproduce(made_up(), "t", [record(result(0.31, 0.3, 0.32), num_failed=3)], Bare())
    assert "| 0.50±0.10 / 0.31±0.20 off by -0.19 [1] |" in forms.markdown(made)
    assert "[1] 3 of 12 pairs failed and are not in our mean" in forms.notes(made)


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (record(result(0.5, 0.4, 0.6), partial=True), "only the first 12 pairs were run"),
        (record(result(0.5, None, None)), "no interval: fewer than two persons"),
        (record(result(None, None, None), num_failed=2), "no pair gave a value: 2 of 12 failed"),
        (record(result(None, None, None, not_applicable="defined for self pairs only")), "defined for self pairs only"),
        (record(result(0.5, 0.4, 0.6), protocol_content={"annotations": "oracle"}), "handed the truth"),
    ],
)
def test_what_makes_a_record_incomparable(held: Record, why: str) -> None:
    check = only(made_up(), held)
    assert check.verdict is Verdict.NOT_COMPARABLE
    assert why in " ".join(check.reasons)
    assert check.difference is None


def test_a_column_in_another_unit_or_barred_by_the_paper_is_not_comparable_but_shown() -> None:
    ours = record(result(0.5, 0.4, 0.6))
    other_unit = only(made_up(unit="%"), ours)
    assert (other_unit.verdict, other_unit.reasons) == (
        Verdict.NOT_COMPARABLE,
        ("the paper's unit is '%', ours is 'deg'",),
    )
    barred = only(made_up(not_comparable="another basis"), ours)
    assert (barred.verdict, barred.reasons) == (Verdict.NOT_COMPARABLE, ("another basis",))
    assert barred.measured is not None
    assert barred.measured.mean == 0.5


def test_a_speed_quotes_the_records_own_time_and_device() -> None:
    check = only(made_up(metric=None, timing=True, not_comparable="other device"), record(result(0.5, 0.4, 0.6)))
    assert check.verdict is Verdict.NOT_COMPARABLE
    assert "here the whole method took 0.25 s for one picture on CPU X" in check.reasons


def test_without_a_record_the_missing_files_and_the_command_are_named() -> None:
    check = only(made_up())
    assert check.verdict is Verdict.NOT_RUN
    text = "\n".join(check.reasons)
    assert "metric 'pose_3ddfa_v2' needs weights 'pose_3ddfa_v2' (a.pth, 3 MB, MIT)" in text
    assert "data set 'ffpp': its makers give it" in text
    assert f"run `reenact-zoo evaluate copy_source {PROTOCOL} --root FOLDER --out FOLDER`" in check.reasons[-1]


def test_what_this_version_lacks_comes_alone() -> None:
    paper = made_up(metric="a_metric_of_later_versions")
    paper.tables["t"].cells = {"ff": {"b": {"pose": "1.0"}}}
    assert only(paper).reasons == (
        "method 'a_method_of_later_versions' is not in this version",
        "metric 'a_metric_of_later_versions' is not in this version",
    )
    assert only(made_up(metric="psnr")).reasons == (f"protocol '{PROTOCOL}' v2 does not measure 'psnr'",)


def test_a_method_that_has_to_be_trained_asks_for_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from reenact_zoo.evaluation.reproduction import lacking

    class Named:
        @staticmethod
        def names() -> list[str]:
            return ["toy"]

        @staticmethod
        def get(name: str) -> Any:
            from reenact_zoo.testing import OnePhaseToy

            return OnePhaseToy

    monkeypatch.setattr(lacking, "METHODS", Named)
    paper = made_up()
    paper.tables["t"].rows["a"].method = "toy"
    assert any("has to be trained: give its weights with --checkpoint" in why for why in only(paper).reasons)


def test_a_record_made_without_the_metric_or_without_its_weights_was_not_run() -> None:
    absent = only(made_up(), record(None))
    assert (absent.verdict, absent.measured) == (Verdict.NOT_RUN, None)
    assert "was made without 'pose_3ddfa_v2'" in absent.reasons[0]
    unable = only(made_up(), record(result(None, None, None, unavailable="needs b.pth (9 MB)")))
    assert (unable.verdict, "needs b.pth (9 MB)" in unable.reasons[0]) == (Verdict.NOT_RUN, True)


def test_a_row_takes_only_records_of_its_protocol_method_and_configuration() -> None:
    paper, ours = made_up(), result(0.5, 0.4, 0.6)
    paper.tables["t"].rows["a"].config = {"gen.afm": "on"}
    assert only(paper, record(ours)).verdict is Verdict.REPRODUCED
    for changes in ({"config": {"gen": {"afm": "off"}}}, {"config": {}}, {"method": "x"}, {"protocol": "x"}):
        assert only(paper, record(ours, **changes)).verdict is Verdict.NOT_RUN
    assert "(trained with gen.afm = on)" in only(paper).reasons[-1]


def test_a_whole_record_of_the_first_seed_is_preferred() -> None:
    held = [
        record(result(0.9, 0.8, 1.0), seed=1),
        record(result(0.5, 0.4, 0.6)),
        record(result(0.9, 0.8, 1.0), partial=True),
    ]
    assert only(made_up(), *held).verdict is Verdict.REPRODUCED


# --- forms --------------------------------------------------------------------------------------------------------


@pytest.fixture
def shown() -> Reproduction:
    paper = made_up()
    table = paper.tables["t"]
    table.cells = {"ff": {"a": {"pose": "0.50±0.10"}, "b": {"pose": "0.70±0.10"}}}
    table.uncertain = [Doubt("*/b/*", "which row this is")]
    table.differences = ["The crop is not stated."]
    table.rows["a"].differences = table.rows["b"].differences = ["Nobody knows the weights."]
    paper.corrections = ["The text says otherwise."]
    return reproduce(paper, "t", [record(result(0.52, 0.45, 0.6))], Bare())


def test_every_form_shows_both_numbers_the_verdict_and_the_reason(shown: Reproduction) -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    forms.print_reproduction(shown, console)
    texts = [console.export_text(), forms.markdown(shown), forms.html(shown)]
    for text in texts:
        assert "0.50±0.10 / 0.52±0.20 reproduced" in text
        assert "0.70±0.10? / – not run [1]" in text
        assert "2 cells: 1 reproduced, 1 not run" in text
        assert text.count("Nobody knows the weights.") == 1, "a difference that two rows share is said once"
        for note in ("The crop is not stated.", "The text says otherwise.", "which row this is"):
            assert note in text
    assert r"0.50$\pm$0.10 / 0.52$\pm$0.20 reproduced" in forms.latex(shown)
    assert "&lt;FF++, FF++>" in forms.markdown(shown)
    assert "<FF" not in forms.html(shown)


def test_csv_has_a_line_for_every_cell_with_full_precision(shown: Reproduction) -> None:
    first, second = csv.DictReader(io.StringIO(forms.as_csv(shown)))
    assert (first["verdict"], float(first["difference"]), first["low"]) == ("reproduced", 0.52 - 0.5, "0.45")
    assert (second["verdict"], second["mean"], second["uncertain"]) == ("not run", "", "which row this is")
    assert "is not in this version" in second["reasons"]


def test_the_counts_add_up(shown: Reproduction) -> None:
    assert sum(shown.counts.values()) == len(shown.checks) == 2
    assert dataclasses.replace(shown, checks=[]).counts[Verdict.OFF] == 0


def test_the_command_prints_table_1_without_records_and_names_what_is_missing() -> None:
    done = CliRunner().invoke(app, ["table", "--paper", "dcg_gan/table1", "--format", "csv"])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 144
    assert {row["verdict"] for row in rows} == {"not run", "not comparable"}
    assert all(row["reasons"] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--paper", "dcg_gn"], "did you mean 'dcg_gan'"),
        ([], "give their folder"),
        (["nowhere", "--paper", "dcg_gan/table1"], "no folder nowhere"),
    ],
)
def test_mistakes_of_the_command_are_one_line(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["table", *arguments])
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

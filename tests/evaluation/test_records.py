"""Records are whole, typed, and refused when they are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fake_world import FakeMeasurer

from reenact_zoo.evaluation.records import Record, read_records
from reenact_zoo.evaluation.runner import run
from reenact_zoo.types import InputError


@pytest.fixture
def record(write_protocol: Any, tmp_path: Path) -> Record:
    return run(write_protocol(), "fake_world:NaNOnBright", out=tmp_path, progress=False, measurer=FakeMeasurer())


def files(tmp_path: Path) -> tuple[Path, Path]:
    return tuple(next((tmp_path / "records").glob(f"*.{kind}")) for kind in ("json", "parquet"))  # type: ignore[return-value]


def test_json_is_strict_and_the_table_has_a_row_for_each_pair(record: Record, tmp_path: Path) -> None:
    path, table = files(tmp_path)
    json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    columns = pq.read_table(table).to_pydict()
    assert len(columns["pair_id"]) == record.num_pairs
    failed = [i for i, status in enumerate(columns["status"]) if status == "failed"]
    assert len(failed) == record.num_failed > 0
    assert all(columns["metric:fake_world:ToTarget"][i] is None and columns["reason"][i] for i in failed)


def _set(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set("num_pairs", value="many"), "record.num_pairs must be int, found str"),
        (
            _set("metrics", "fake_world:Level", "mean", value="0.9"),
            r"record.metrics.fake_world:Level.mean must be float",
        ),
        (_set("conditions", "threads", value=1.5), "record.conditions.threads must be int"),
        (_set("rank", value=1), "'record.rank' is unknown"),
        (lambda content: content.pop("pairs_hash"), "'record.pairs_hash' is missing"),
        (_set("schema", value=0), "schema is 0"),
        (_set("gallery", value=[3]), r"record.gallery\[0\] must hold fields"),
    ],
)
def test_an_edited_record_is_refused_with_the_field_named(
    record: Record, tmp_path: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    path, _ = files(tmp_path)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_records(tmp_path)


def test_a_truncated_record_is_refused(record: Record, tmp_path: Path) -> None:
    path, _ = files(tmp_path)
    path.write_text(path.read_text()[:200])
    with pytest.raises(InputError, match="cannot read the record"):
        read_records(tmp_path)


def test_per_pair_values_of_another_run_are_refused(record: Record, tmp_path: Path) -> None:
    _, table = files(tmp_path)
    pq.write_table(pq.read_table(table).slice(0, 3), table)
    with pytest.raises(InputError, match="has 3 rows, its record says num_pairs = 24"):
        record.pair_values()
    table.unlink()
    with pytest.raises(InputError, match="run the benchmark again"):
        record.pair_values()


def test_a_folder_without_results_says_so(tmp_path: Path) -> None:
    assert read_records(tmp_path) == []
    with pytest.raises(InputError, match="run a benchmark first"):
        read_records(tmp_path / "none")


def test_nothing_half_written_stays_behind(record: Record, tmp_path: Path) -> None:
    assert sorted(path.suffix for path in (tmp_path / "records").iterdir()) == [".json", ".parquet"]

"""Records are whole, typed, and refused when they are not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fake_world import FakeMeasurer, protocol_writer

from reenact_zoo.evaluation.records import Record, read_records
from reenact_zoo.evaluation.runner import run
from reenact_zoo.types import InputError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    protocol = protocol_writer(folder)()
    run(protocol, "fake_world:NaNOnBright", out=folder, progress=False, measurer=FakeMeasurer())
    return folder


@pytest.fixture
def record(written: Path, tmp_path: Path) -> Record:
    shutil.copytree(written / "records", tmp_path / "records")
    (found,) = read_records(tmp_path)
    return found


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
        (_set("metrics", "fake_world:Level", "mean", value=0.9), r"fake_world:Level.mean is 0.9, its pairs say 0\."),
        (_set("metrics", "fake_world:Level", "std", value=0.9), r"fake_world:Level.std is 0.9"),
        (_set("metrics", "fake_world:Level", "n", value=3), r"fake_world:Level.n is 3, but 1\d pairs have a value"),
        (_set("metrics", "fake_world:Level", "n", value=99), r"fake_world:Level.n is 99, which is not between"),
        (_set("metrics", "fake_world:Level", "low", value=9.0), r"fake_world:Level.low is above high"),
        (_set("metrics", "fake_world:Level", "lost", value=2), r"record.metrics.fake_world:Level is not what was"),
        (
            _set("metrics", "fake_world:Level", "card", "unit", value="%"),
            r"record.metrics.fake_world:Level is not what",
        ),
        (_set("num_failed", value=1), r"record.failures do not add up to num_failed = 1"),
        (_set("detection_rate", value=1.5), r"record.detection_rate is 1.5, which is not between"),
        (_set("detection_rate", value=0.5), r"record.detection_rate is not what was written"),
        (_set("partial", value=True), r"record.partial is not what was written"),
        (_set("conditions", "commit", value="abc"), r"record.conditions is not what was written"),
        (_set("method", value="mine"), r"record.method is not what was written"),
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


def test_per_pair_values_that_were_edited_are_refused(record: Record, tmp_path: Path) -> None:
    _, path = files(tmp_path)
    table = pq.read_table(path)
    place = table.column_names.index("metric:fake_world:Level")
    raised = pc.add(table.column(place), 0.001)
    pq.write_table(table.set_column(place, "metric:fake_world:Level", raised), path)
    with pytest.raises(InputError, match=r"fake_world:Level.mean is 0\.\d+, its pairs say"):
        read_records(tmp_path)


def test_a_record_from_before_seeds_can_still_be_read(record: Record, tmp_path: Path) -> None:
    path, _ = files(tmp_path)
    content = json.loads(path.read_text())
    for name in ("seed", "label", "cells", "digests"):
        del content[name]
    later = ("detection_rate", "lost", "lost_reference", "mean_found", "n_found", "mean_penalised")
    metrics = {k: {f: v for f, v in m.items() if f not in later} for k, m in content["metrics"].items()}
    path.write_text(json.dumps({**content, "metrics": metrics, "schema": 1}))
    (older,) = read_records(tmp_path)
    assert (older.seed, older.metrics["fake_world:Level"].mean) == (0, record.metrics["fake_world:Level"].mean)


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

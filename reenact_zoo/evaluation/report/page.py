"""Renders the page; style and script are inlined, pictures are data URIs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reenact_zoo import __version__
from reenact_zoo.evaluation.records import Record, read_records
from reenact_zoo.evaluation.report.sections import section
from reenact_zoo.evaluation.table import BOUNDS
from reenact_zoo.evaluation.table.results import name_of
from reenact_zoo.types import InputError

FILE = "report.html"


def write_report(folder: Path) -> Path:
    """Make ``report.html`` of all records below ``folder``; returns its path.

    Raises:
        InputError: no record, records that must not share a table, or the page cannot be written.
    """
    records = read_records(folder)
    if not records:
        raise InputError(f"no records in {folder}; run a benchmark first")
    html = _template().render(
        heading=folder.resolve().name,
        summary=_summary(records),
        sections=[section([r for r in records if r.protocol == n]) for n in dict.fromkeys(r.protocol for r in records)],
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    path = folder / FILE
    part = path.with_name(f"{FILE}.part")
    try:
        part.write_text(html, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reenact_zoo.evaluation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _summary(records: list[Record]) -> list[tuple[str, str]]:
    pairs = sum(record.num_pairs for record in records)
    failed = sum(record.num_failed for record in records)
    methods = len({name_of(record) for record in records if record.method not in BOUNDS})
    protocols = len({record.protocol for record in records})
    return [
        (str(methods), "method" if methods == 1 else "methods"),
        (str(protocols), "protocol" if protocols == 1 else "protocols"),
        (f"{pairs:,}", "pairs reenacted"),
        (f"{failed:,}", "failed"),
        (f"{sum(record.conditions.seconds for record in records):,.0f} s", "in all"),
    ]

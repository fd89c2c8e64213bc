"""Published numbers as data with an address: paper, table, setting, row, column. One YAML file a paper.

A file ``benchmarks/papers/<paper>.yaml`` has the fields of ``Paper``. Its numbers stand in ``tables.<table>.cells`` as
they were printed, so that the number of decimals is kept: ``setting: {row: {column: 0.34±0.12}}``, "mean±standard
deviation" or a mean alone in quotation marks. What a number means, and why ours may differ, stands once, with its
column, row or setting. A number whose place or meaning the sources leave open is listed under ``uncertain`` with why.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from reenact_zoo.config import structured
from reenact_zoo.evaluation.protocol import protocol_names
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

_NUMBER = re.compile(r"(?P<mean>[+-]?\d+(?:\.(?P<digits>\d+))?)(?:±(?P<std>\d+(?:\.\d+)?))?")


@dataclass
class PaperColumn:
    """What was measured.

    Attributes:
        title: as printed.
        higher_is_better: direction; null where the paper states none.
        unit: as printed; "" for none.
        metric: our metric by the same definition; null where there is none, and ``not_comparable`` says why.
        not_comparable: why no number of ours can be held against this column, even where ``metric`` is the closest.
        differences: known or possible differences between the paper's definition and ours.
        timing: the column is a time per picture, so that a record's own time is quoted beside it.
    """

    title: str
    higher_is_better: bool | None
    unit: str = ""
    metric: str | None = None
    not_comparable: str = ""
    differences: list[str] = field(default_factory=list)
    timing: bool = False


@dataclass
class PaperSetting:
    """On what it was measured.

    Attributes:
        title: as printed.
        source, driving: data sets of the source pictures and of the driving frames, in words.
        kind: "self", "cross", or "" where the paper does not say.
        protocol: ours of the same data; null where there is none, and ``not_comparable`` says why.
        not_comparable: why no number of ours can be held against this setting.
        differences: what of our protocol is known or has to be feared to differ.
    """

    title: str
    source: str = ""
    driving: str = ""
    kind: str = ""
    protocol: str | None = None
    not_comparable: str = ""
    differences: list[str] = field(default_factory=list)


@dataclass
class PaperRow:
    """What was run.

    Attributes:
        title: as printed.
        method: our registered name; null where there is none, and ``not_comparable`` says why.
        config: values, by dotted key, that the configuration of our record must have to be this row.
        not_comparable: why no record of ours can be held against this row.
        differences: what of the authors' own run differs from the method itself.
    """

    title: str
    method: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    not_comparable: str = ""
    differences: list[str] = field(default_factory=list)


@dataclass
class Doubt:
    """Cells, by a pattern of "setting/row/column", of which something is not sure."""

    cells: str
    why: str


@dataclass
class PaperTable:
    """One table, or the numbers of one place in the text.

    Attributes:
        title: what it shows.
        where: place in the paper, and where the numbers were read from.
        columns, settings, rows: by key, in printed order.
        cells: setting → row → column → number as printed.
        uncertain: doubts about cells.
        differences: what holds for all of them.
    """

    title: str
    where: str
    columns: dict[str, PaperColumn]
    settings: dict[str, PaperSetting]
    rows: dict[str, PaperRow]
    cells: dict[str, dict[str, dict[str, str]]]
    uncertain: list[Doubt] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


@dataclass
class Paper:
    """One publication.

    Attributes:
        name: equal to the file's name without ".yaml".
        title, authors: of the publication.
        reference: venue, arXiv number, address.
        corrections: where the text of the paper contradicts its own tables, and other remarks.
        tables: by key; {} where no number could be found, which ``corrections`` then says.
    """

    name: str
    title: str
    authors: str
    reference: str
    tables: dict[str, PaperTable] = field(default_factory=dict)
    corrections: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Published:
    """One number with its address.

    Attributes:
        setting, row, column: keys in its table.
        text: as printed.
        mean: the number; ``std`` what is printed behind ±, None where nothing is.
        digits: decimals as printed; the mean was rounded to them.
        uncertain: what is not sure about it, sentence by sentence.
    """

    setting: str
    row: str
    column: str
    text: str
    mean: float
    std: float | None
    digits: int
    uncertain: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """The three keys with slashes between them."""
        return f"{self.setting}/{self.row}/{self.column}"


def published(table: PaperTable) -> list[Published]:
    """All numbers of a table, in printed order."""
    return [
        _number(table, setting, row, column, text)
        for setting, rows in table.cells.items()
        for row, columns in rows.items()
        for column, text in columns.items()
    ]


def _number(table: PaperTable, setting: str, row: str, column: str, text: str) -> Published:
    address = f"{setting}/{row}/{column}"
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        raise InputError(f"{address} is '{text}', which is no number like 0.34±0.12 or 98.2")
    doubts = tuple(doubt.why for doubt in table.uncertain if fnmatchcase(address, doubt.cells))
    std = None if found["std"] is None else float(found["std"])
    return Published(setting, row, column, text, float(found["mean"]), std, len(found["digits"] or ""), doubts)


def _folder() -> Path:
    return Path(str(importlib.resources.files("reenact_zoo.benchmarks") / "papers"))


def paper_names() -> list[str]:
    """Packaged papers, sorted."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def load_paper(name: str) -> Paper:
    """A packaged paper by name, or any by the path of its YAML file.

    Raises:
        InputError: unknown name (the nearest one is suggested), a file that does not fit the schema, or one that
            contradicts itself.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else _folder() / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"no published numbers of '{name}'; {nearest(name, paper_names())}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold 'key: value' lines")
    for address, value in _unquoted(content):
        raise InputError(
            f"{path}: put the number {value} at {address} in quotation marks, its last zeros would be lost"
        )
    paper: Paper = structured(Paper, content, str(path))
    _check(paper, path)
    return paper


def load_tables(name: str) -> tuple[Paper, dict[str, PaperTable]]:
    """Paper and tables meant by "paper/table", or by "paper" for all its tables.

    Raises:
        InputError: unknown paper or table, or a paper without a published number.
    """
    first, _, key = name.rpartition("/") if "/" in name and not name.endswith((".yaml", ".yml")) else (name, "", "")
    paper = load_paper(first)
    if not paper.tables:
        raise InputError(f"no published number of '{paper.name}' could be found: {' '.join(paper.corrections)}")
    if key and key not in paper.tables:
        raise InputError(f"'{first}' has no table '{key}'; {nearest(key, paper.tables)}")
    return paper, {key: paper.tables[key]} if key else dict(paper.tables)


def _unquoted(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Cells that YAML read as numbers; whatever has another shape is for the schema to refuse."""
    for key, table in (content.get("tables") or {}).items():
        cells = table.get("cells") if isinstance(table, dict) else None
        for setting, rows in (cells or {}).items():
            for row, columns in (rows or {}).items():
                for column, value in (columns or {}).items():
                    if not isinstance(value, str):
                        yield f"{key}/{setting}/{row}/{column}", value


def _check(paper: Paper, path: Path) -> None:
    if paper.name != path.stem:
        raise InputError(f"{path}: name is '{paper.name}', but a paper is called like its file: '{path.stem}'")
    for key, table in paper.tables.items():
        where = f"{path}, {key}"
        try:
            cells = published(table)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        for part in ("settings", "rows", "columns"):
            _check_keys(getattr(table, part), [getattr(cell, part[:-1]) for cell in cells], part[:-1], where)
        for part, link in (("settings", "protocol"), ("rows", "method"), ("columns", "metric")):
            _check_links(getattr(table, part), link, where)
        for doubt in table.uncertain:
            if not any(fnmatchcase(cell.address, doubt.cells) for cell in cells):
                raise InputError(f"{where}: no cell is called '{doubt.cells}', of which a doubt is stated")


def _check_keys(known: dict[str, Any], used: list[str], part: str, where: str) -> None:
    for key in used:
        if key not in known:
            raise InputError(f"{where}: {part} '{key}' of a cell is not described; {nearest(key, known)}")
    for key in known:
        if key not in used:
            raise InputError(f"{where}: {part} '{key}' is described but has no cell")


def _check_links(entries: dict[str, Any], link: str, where: str) -> None:
    for key, entry in entries.items():
        target = getattr(entry, link)
        if target is None and not entry.not_comparable:
            raise InputError(f"{where}: '{key}' has no {link}; say under not_comparable why")
        if link == "protocol" and target is not None and target not in protocol_names():
            raise InputError(
                f"{where}: '{key}' names an unknown protocol '{target}'; {nearest(target, protocol_names())}"
            )

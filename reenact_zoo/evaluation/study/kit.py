"""The kit: one page with all pictures inside for the judges, and the key that only the one who asks keeps.

The page holds questions by number and pictures by content. Which method made a picture stands in the key alone; the
order of the questions and the sides are drawn by chance.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image

from reenact_zoo.evaluation.comparison import title_of
from reenact_zoo.evaluation.records import GalleryPair, Record, read_records
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

PAGE, KEY = "study.html", "key.csv"
KEY_COLUMNS = ("kit", "question", "protocol", "pair_id", "left", "right")


@dataclass(frozen=True)
class Question:
    """Which of two outputs of one pair is better.

    Attributes:
        protocol, pair_id: what was reenacted.
        left, right: names of the rows in the table.
        pictures: paths of source, driving, left and right.
    """

    protocol: str
    pair_id: str
    left: str
    right: str
    pictures: tuple[Path, Path, Path, Path]


@dataclass(frozen=True)
class Kit:
    """What was written: the page for the judges, the key, the number of questions, and the name of the kit."""

    page: Path
    key: Path
    num_questions: int
    name: str


def make_study(
    folder: Path,
    out: Path,
    *,
    methods: Sequence[str] = (),
    protocol: str | None = None,
    questions: int = 60,
    seed: int = 0,
) -> Kit:
    """Write a blinded kit from the pictures that a benchmark kept.

    Every two methods meet on the same number of pairs, as far as there are pictures.

    Args:
        folder: of results.
        out: where page and key are written; hand out the page alone.
        methods: rows to compare; none: all that are not made from the truth.
        protocol: only its records.
        questions: at most so many.
        seed: of order and sides; the same seed and pictures give the same kit.

    Raises:
        InputError: fewer than two methods with pictures of the same pairs, an unknown name, or files that cannot be
            read or written.
    """
    if questions < 1:
        raise InputError(f"a kit has at least one question, not {questions}")
    records = _chosen(read_records(folder), methods, protocol, folder)
    drawn = _draw(records, folder, questions, random.Random(seed))
    if not drawn:
        raise InputError(f"no two methods in {folder} have pictures of the same pair; run a benchmark of two methods")
    shown = [[_data_uri(path) for path in question.pictures] for question in drawn]
    name = hashlib.sha256("\n".join(uri for uris in shown for uri in uris).encode()).hexdigest()[:12]
    keyed = [
        (name, number, question.protocol, question.pair_id, question.left, question.right)
        for number, question in enumerate(drawn, 1)
    ]
    _write(out / KEY, _key_text(keyed))
    _write(out / PAGE, _page_text(name, shown))
    return Kit(out / PAGE, out / KEY, len(drawn), name)


def _chosen(records: Sequence[Record], methods: Sequence[str], protocol: str | None, folder: Path) -> list[Record]:
    kept = [record for record in records if protocol in (None, record.protocol)]
    if not kept:
        raise InputError(f"no records of {protocol or 'any protocol'} in {folder}; run a benchmark first")
    known = dict.fromkeys(title_of(record) for record in kept)
    for name in methods:
        if name not in known:
            raise InputError(f"no records of '{name}' in {folder}; {nearest(name, known)}")
    if methods:
        return [record for record in kept if title_of(record) in methods]
    return [record for record in kept if not record.method.startswith("bound:")]


def _draw(records: Sequence[Record], folder: Path, count: int, chance: random.Random) -> list[Question]:
    """Questions in the order of the page: every two methods as often as the others, sides and order by chance."""
    matches = []
    for first, second in combinations(records, 2):
        if (first.protocol, first.pairs_hash) == (second.protocol, second.pairs_hash):
            met = _meetings(first, second, folder)
            chance.shuffle(met)
            matches.append(met)
    dealt = [met[turn] for turn in range(max(map(len, matches), default=0)) for met in matches if turn < len(met)]
    drawn = [_sided(question, chance) for question in dealt[:count]]
    chance.shuffle(drawn)
    return drawn


def _meetings(first: Record, second: Record, folder: Path) -> list[Question]:
    others = {pair.pair_id: pair for pair in second.gallery if pair.reenacted}
    return [
        Question(
            first.protocol,
            pair.pair_id,
            title_of(first),
            title_of(second),
            _paths(folder, pair, others[pair.pair_id]),
        )
        for pair in first.gallery
        if pair.reenacted and pair.pair_id in others
    ]


def _paths(folder: Path, one: GalleryPair, other: GalleryPair) -> tuple[Path, Path, Path, Path]:
    return folder / one.source, folder / one.driving, folder / one.reenacted, folder / other.reenacted


def _sided(question: Question, chance: random.Random) -> Question:
    if chance.random() < 0.5:
        return question
    source, driving, left, right = question.pictures
    swapped = (source, driving, right, left)
    return Question(question.protocol, question.pair_id, question.right, question.left, swapped)


def _data_uri(path: Path) -> str:
    """The pixels alone, as PNG: neither a name nor metadata of the file comes along."""
    try:
        with Image.open(path) as image:
            pixels = image.convert("RGB")
    except OSError as error:
        raise InputError(f"cannot read the picture {path}; run the benchmark again") from error
    bare = Image.frombytes("RGB", pixels.size, pixels.tobytes())
    file = io.BytesIO()
    bare.save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _key_text(rows: Sequence[tuple[Any, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(KEY_COLUMNS)
    writer.writerows(rows)
    return out.getvalue()


def _page_text(name: str, shown: Sequence[Sequence[str]]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reenact_zoo.evaluation", "study"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    roles = ("source", "driving", "left", "right")
    questions = [dict(zip(roles, uris, strict=True)) for uris in shown]
    return environment.get_template("page.html.j2").render(kit=name, questions=questions)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)

"""What people answered: which method they prefer, how sure that is, and how far they agree with each other."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from reenact_zoo.evaluation.statistics import bootstrap_interval
from reenact_zoo.evaluation.study.kit import KEY, KEY_COLUMNS
from reenact_zoo.evaluation.table.sheet import MISSING, Entry, Line, Sheet
from reenact_zoo.types import InputError

COLUMNS = ("kit", "rater", "question", "answer")
CHOICES = ("left", "right", "same")
Ends = tuple[float, float] | None


@dataclass(frozen=True)
class Answer:
    """One line: who said what to which question."""

    rater: str
    question: int
    choice: str


@dataclass(frozen=True)
class Duel:
    """Two methods before all judges.

    Attributes:
        first, second: names of the rows.
        wins, losses, ties: answers for the first, for the second, for neither.
        preference: share of answers for the first, a tie counted half.
        interval: its 95 % interval; resamples judges and pairs independently. None with fewer than two of either.
        wilson: 95 % interval of the share of the first among the answers that prefer one, by Wilson's score, as if
            every answer were independent; None without any.
    """

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    preference: float
    interval: Ends
    wilson: Ends


@dataclass(frozen=True)
class Findings:
    """All answers to a kit.

    Attributes:
        duels: every two methods that met.
        raters: names of the judges.
        num_questions: of the kit; ``num_answers`` were given.
        agreement: share of pairs of judges who said the same of a question; None where no question has two answers.
        kappa: Fleiss' kappa over left, right and no difference; None likewise, or where all answers are one.
        left: share of "left" among the answers for a side: a half, but for chance and bias.
    """

    duels: list[Duel]
    raters: tuple[str, ...]
    num_questions: int
    num_answers: int
    agreement: float | None
    kappa: float | None
    left: float | None


def read_study(folder: Path, files: Sequence[Path]) -> Findings:
    """Read the answers of several judges to the kit whose key is in ``folder``.

    Raises:
        InputError: a file is missing or malformed, belongs to another kit, or a judge answered a question twice.
    """
    key = _read_key(folder / KEY)
    (kit,) = {row["kit"] for row in key.values()}
    answers: dict[tuple[str, int], Answer] = {}
    for path in files:
        for where, answer in _read_answers(path, kit, key):
            if (answer.rater, answer.question) in answers:
                raise InputError(
                    f"{where}: '{answer.rater}' answered question {answer.question} already; remove one file"
                )
            answers[answer.rater, answer.question] = answer
    if not answers:
        raise InputError("no answers to read; name the CSV files that the page saved")
    given = list(answers.values())
    agreement, kappa = fleiss_kappa(_counts(given))
    sides = [answer.choice for answer in given if answer.choice != "same"]
    return Findings(
        _duels(given, key),
        tuple(dict.fromkeys(answer.rater for answer in given)),
        len(key),
        len(given),
        agreement,
        kappa,
        sides.count("left") / len(sides) if sides else None,
    )


def fleiss_kappa(counts: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Agreement and Fleiss' kappa (Fleiss 1971, Psychological Bulletin 76) of ``counts`` (questions, choices).

    Questions may have different numbers of judges; those with fewer than two say nothing about agreement and are left
    out. The mean over questions is taken as in the paper, each counted once.

    Returns:
        (share of agreeing pairs of judges, kappa); None for what is not defined.
    """
    counts = counts[counts.sum(axis=1) >= 2].astype(np.float64)
    if not len(counts):
        return None, None
    judges = counts.sum(axis=1)
    agreement = float((((counts**2).sum(axis=1) - judges) / (judges * (judges - 1))).mean())
    by_chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return agreement, None if by_chance == 1 else (agreement - by_chance) / (1 - by_chance)


def sheet(findings: Findings) -> Sheet:
    """A row for every two methods."""
    heads = ["preferred", "95 %", "wins", "losses", "no difference", "share of decided, Wilson 95 %"]
    lines = []
    for duel in findings.duels:
        decided = duel.wins + duel.losses
        share = f"{duel.wins / decided:.0%} {_ends(duel.wilson)}" if decided else MISSING
        texts = [
            f"{duel.preference:.0%}",
            _ends(duel.interval),
            str(duel.wins),
            str(duel.losses),
            str(duel.ties),
            share,
        ]
        lines.append(Line(f"{duel.first} over {duel.second}", [Entry(text) for text in texts]))
    title = f"{findings.num_answers} answers of {len(findings.raters)} judges to {findings.num_questions} questions"
    return Sheet(title, "methods", heads, lines, (), _notes(findings))


def _ends(ends: Ends) -> str:
    return MISSING if ends is None else f"[{ends[0]:.0%}, {ends[1]:.0%}]"


def _notes(findings: Findings) -> list[str]:
    notes = ["preferred: share of all answers, no difference counted half; its interval resamples judges and pairs"]
    if findings.agreement is None:
        notes.append("agreement: not known, no question was answered by two judges")
    else:
        kappa = MISSING if findings.kappa is None else f"{findings.kappa:.2f}"
        notes.append(f"two judges agree in {findings.agreement:.0%} of cases; Fleiss' kappa {kappa}")
    if findings.left is not None:
        notes.append(f"the left picture was chosen in {findings.left:.0%} of the answers for a side")
    return notes


def _duels(answers: Sequence[Answer], key: Mapping[int, Mapping[str, str]]) -> list[Duel]:
    met: dict[tuple[str, str], list[tuple[float, str, str]]] = {}
    for answer in answers:
        row = key[answer.question]
        first, second = sorted((row["left"], row["right"]))
        chosen = {"left": row["left"], "right": row["right"], "same": ""}[answer.choice]
        score = {first: 1.0, second: 0.0, "": 0.5}[chosen]
        met.setdefault((first, second), []).append((score, answer.rater, f"{row['protocol']} {row['pair_id']}"))
    return [_duel(*names, met[names]) for names in sorted(met)]


def _duel(first: str, second: str, met: Sequence[tuple[float, str, str]]) -> Duel:
    scores = np.array([score for score, _, _ in met])
    wins, losses = int((scores == 1).sum()), int((scores == 0).sum())
    interval = bootstrap_interval(scores, [rater for _, rater, _ in met], [pair for _, _, pair in met])
    wilson = None
    if wins + losses:
        found = binomtest(wins, wins + losses).proportion_ci(method="wilson")
        wilson = float(found.low), float(found.high)
    return Duel(first, second, wins, losses, len(met) - wins - losses, float(scores.mean()), interval, wilson)


def _counts(answers: Sequence[Answer]) -> NDArray[np.int64]:
    """(answered questions, choices) how many judges chose what."""
    questions = {question: row for row, question in enumerate(sorted({answer.question for answer in answers}))}
    counts = np.zeros((len(questions), len(CHOICES)), np.int64)
    for answer in answers:
        counts[questions[answer.question], CHOICES.index(answer.choice)] += 1
    return counts


# --- files ------------------------------------------------------------------------------------------------------------


def _rows(path: Path, columns: Sequence[str], what: str) -> list[tuple[str, dict[str, str]]]:
    """Rows of a CSV file with where they stand, in words; every one of ``columns`` is there and not empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            absent = [name for name in columns if name not in (reader.fieldnames or ())]
            if absent:
                raise InputError(f"{path}: column '{absent[0]}' is missing; {what} has {', '.join(columns)}")
            found = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}; {what} is a CSV file") from error
    for where, row in found:
        if lacking := next((name for name in columns if not row[name]), None):
            raise InputError(f"{where}: '{lacking}' is empty")
    return found


def _read_key(path: Path) -> dict[int, dict[str, str]]:
    rows = _rows(path, KEY_COLUMNS, "the key of a kit")
    if len({row["kit"] for _, row in rows}) != 1:
        raise InputError(f"{path} is not the key of one kit; make the kit again")
    return {_number(row["question"], where): row for where, row in rows}


def _read_answers(path: Path, kit: str, key: Mapping[int, object]) -> list[tuple[str, Answer]]:
    found = []
    for where, row in _rows(path, COLUMNS, "a file of answers"):
        if row["kit"] != kit:
            raise InputError(f"{where}: an answer to kit {row['kit']}, but the key is of kit {kit}")
        question = _number(row["question"], where)
        if question not in key:
            raise InputError(f"{where}: the kit has no question {question}")
        if row["answer"] not in CHOICES:
            raise InputError(f"{where}: answer is {', '.join(CHOICES)}, not '{row['answer']}'")
        found.append((where, Answer(row["rater"], question, row["answer"])))
    return found


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{where}: question is a number, not '{text}'")
    return int(text)

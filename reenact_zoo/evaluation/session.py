"""The batches of one run: read, annotate, reenact, score, keep; what is known already is left alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from reenact_zoo.data.evaluation import EvaluationPairs, collate
from reenact_zoo.data.pairs import Pair
from reenact_zoo.evaluation.cells import Cell, Cells, Lap
from reenact_zoo.evaluation.conditions import Stopwatch
from reenact_zoo.evaluation.gallery import SHOWN_AUX, Gallery
from reenact_zoo.evaluation.keys import pair_key
from reenact_zoo.evaluation.makers import Maker
from reenact_zoo.evaluation.progress import Bar
from reenact_zoo.evaluation.scores import Scores
from reenact_zoo.evaluation.share import Share
from reenact_zoo.types import LABEL_KEYS, TARGET_KEYS, InputError, PairBatch, ReenactmentOutput


@dataclass
class Session:
    """The state of one run."""

    maker: Maker
    pairs: list[Pair]
    data: EvaluationPairs
    seed: int
    annotator: Any
    scores: Scores
    gallery: Gallery
    store: Cells
    watch: Stopwatch
    share: Share = field(default_factory=Share.of_this_process)
    laps: list[Lap] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)  # of the batch at hand: index of a failed pair → why
    passing: set[int] = field(default_factory=set)  # of these, what another try may mend
    made: int = 0  # pictures of the batch at hand
    ever_made: bool = False

    def go(self, batch_size: int, title: str, *, shown: bool) -> None:
        """Find out what is not known yet, and share it."""
        known, self.laps = self.share.gather(self.store.read() if self.share.first else ({}, []))[0]
        self.scores.restore(known)
        self.ever_made = any(not cell.reason for cell in known.values())
        grid = [range(i, min(i + batch_size, len(self.pairs))) for i in range(0, len(self.pairs), batch_size)]
        todo = [(i, indices) for i, indices in enumerate(grid) if any(self._lacks(index) for index in indices)]
        todo = self.share.gather(todo)[0]  # one list for all: the first may have written pictures by now
        with Bar(title, len(self.pairs), shown=shown and self.share.first) as bar:
            bar.advance(len(self.pairs) - sum(len(indices) for _, indices in todo), len(self.scores.reasons))
            for number, indices in self.share.own(todo):
                self._batch(indices, may_raise=number == 0)
                bar.advance(len(indices) * self.share.processes, len(self.scores.reasons))
        self._exchange()

    def _lacks(self, index: int) -> bool:
        cell = self.scores.cells[index]
        if cell is None or self.scores.lacks(index):
            return True
        truth = cell.truth or self.pairs[index].same_identity
        return self.gallery.lacks(index, failed=bool(cell.reason), truth=truth)

    def _batch(self, indices: Sequence[int], *, may_raise: bool) -> None:
        """All pairs of a batch are made again where one lacks something: its neighbours can change a last bit."""
        torch.manual_seed((self.seed * 1_000_003 + indices[0]) % 2**63)
        self.reasons, self.passing, self.made = {}, set(), 0
        read = dict(self._read(indices))
        if read:
            batch, kept = collate(list(read.values())), list(read)
            with self.watch.stage("annotations"):
                seen = self.annotator.fill(without_targets(batch), self.maker.requires)
            shown = without_annotations(batch)
            output = self._reenact(shown if self.maker.sees_truth else seen, kept, may_raise=may_raise)
            self.gallery.keep(kept, shown, output, self.reasons)
            self.scores.add(kept, shown, output, self.reasons)
        for index, reason in self.reasons.items():
            self.scores.fail(index, reason, final=index not in self.passing)
        self.laps.append(self.watch.lap(self.made))
        cells = {pair_key(self.pairs[i]): cast(Cell, self.scores.cells[i]) for i in indices}
        self.store.append(cells, self.laps[-1])

    def _read(self, indices: Sequence[int]) -> Iterator[tuple[int, PairBatch]]:
        for index in indices:
            try:
                yield index, self.data[index]
            except InputError as error:
                self._fail(index, f"cannot be read: {error}", passing=True)

    def _fail(self, index: int, reason: str, *, passing: bool) -> None:
        self.reasons[index] = reason
        if passing:
            self.passing.add(index)

    def _reenact(self, seen: PairBatch, kept: list[int], *, may_raise: bool) -> ReenactmentOutput:
        """Pictures (B, 3, H, W) on the CPU; rows of failed pairs are NaN and their reasons noted."""
        try:
            output = self._call(seen)
        except Exception as error:  # which pair is to blame? ask one by one
            output = self._one_by_one(seen, kept, error, may_raise=may_raise)
        for row, index in enumerate(kept):
            if index not in self.reasons and not output.reenacted[row].isfinite().all():
                self._fail(index, self._why_not_finite(seen, row), passing=False)
                output.reenacted[row] = torch.nan  # one bad pixel condemns the picture: no metric sees half of one
        self.ever_made = self.ever_made or len(self.reasons) < len(kept)
        return output

    def _one_by_one(self, seen: PairBatch, kept: list[int], error: Exception, *, may_raise: bool) -> ReenactmentOutput:
        outputs: list[ReenactmentOutput | None] = []
        for row, index in enumerate(kept):
            try:
                outputs.append(self._call(rows(seen, [row])))
            except Exception as reason:
                outputs.append(None)
                self._fail(index, " ".join(f"{type(reason).__name__}: {reason}".split())[:200], passing=True)
        good = [output for output in outputs if output is not None]
        if not good and may_raise and not self.ever_made and not isinstance(error, InputError):
            raise error  # not one pair of the first batch works: a fault of the method, not of the pairs
        return _stacked(outputs, torch.full_like(seen["source"][:1], torch.nan))

    def _call(self, seen: PairBatch) -> ReenactmentOutput:
        batch = {k: v.to(self.watch.device) if isinstance(v, Tensor) else v for k, v in seen.items()}
        with torch.inference_mode(), self.watch.stage("method"):
            output = self.maker.make(cast(PairBatch, batch))
        if output.reenacted.shape != seen["source"].shape:
            shapes = tuple(output.reenacted.shape), tuple(seen["source"].shape)
            raise ValueError(f"reenacted has shape {shapes[0]}, source {shapes[1]}")
        self.made += len(output.reenacted)
        aux = {key: output.aux[key].float().cpu() for key in (self.scores.reads_aux | SHOWN_AUX) & output.aux.keys()}
        # rounding may leave [0, 1]; clamping keeps NaN
        return ReenactmentOutput(output.reenacted.float().clamp(0, 1).cpu(), aux)

    def _why_not_finite(self, seen: PairBatch, row: int) -> str:
        if why := self.maker.why(seen["pair_id"][row]):
            return why
        if self.maker.sees_truth:
            return "the truth that this bound is made of is not known"
        return _why_not_finite(seen, row)

    def _exchange(self) -> None:
        """After it, every process knows what all of them found out."""
        if self.share.processes == 1:
            return
        own = {pair_key(pair): cell for pair, cell in zip(self.pairs, self.scores.cells) if cell is not None}
        known: dict[str, Cell] = {}
        for cells, laps in self.share.gather((own, self.laps)):
            for key, cell in cells.items():
                known[key] = _fuller(known.get(key), cell)
            self.laps = list(dict.fromkeys([*self.laps, *laps]))
        self.scores.restore(known, final=False)


def _fuller(one: Cell | None, other: Cell) -> Cell:
    """Of two states of a cell the later one: cells only ever gain values."""
    if one is None:
        return other
    return max((one, other), key=lambda cell: (cell.final or not cell.reason, len(cell.values), len(cell.rows)))


def without_targets(batch: PairBatch) -> PairBatch:
    """What a method may see."""
    hidden = TARGET_KEYS | LABEL_KEYS
    return cast(PairBatch, {key: value for key, value in batch.items() if key not in hidden})


def without_annotations(batch: PairBatch) -> PairBatch:
    """What metrics see: pictures and truth, so that no score depends on what a method happens to require."""
    kept = {"source", "driving", "driving_reference", "same_identity", "pair_id", *TARGET_KEYS, *LABEL_KEYS}
    return cast(PairBatch, {key: value for key, value in batch.items() if key in kept})


def _stacked(outputs: Sequence[ReenactmentOutput | None], blank: Tensor) -> ReenactmentOutput:
    """Single pictures as a batch; where there is none, a row of NaN."""
    made = [output for output in outputs if output is not None]
    keys = set.intersection(*[set(output.aux) for output in made]) if made else set()
    aux = {}
    for key in sorted(keys):
        empty = torch.full_like(made[0].aux[key], torch.nan)
        aux[key] = torch.cat([empty if output is None else output.aux[key] for output in outputs])
    return ReenactmentOutput(torch.cat([blank if o is None else o.reenacted for o in outputs]), aux)


def rows(batch: PairBatch, indices: list[int]) -> PairBatch:
    """Some rows of every entry."""
    entries = cast("dict[str, Any]", batch).items()
    return cast(PairBatch, {k: v[indices] if isinstance(v, Tensor) else [v[i] for i in indices] for k, v in entries})


def _why_not_finite(seen: PairBatch, row: int) -> str:
    blind = [
        key.rpartition("_")[0]
        for key, value in seen.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1 and value[row].isnan().all()
    ]
    frames = " and ".join(dict.fromkeys(blind))
    return f"no face found in {frames}" if frames else "the reenacted picture contains NaN"

"""Runs one method on the pairs of one protocol, in batches, and writes the record; no picture outlives its batch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf
from torch import Tensor

from reenact_zoo.config import structured
from reenact_zoo.data.evaluation import EvaluationPairs, collate
from reenact_zoo.data.pairs import Pair, pairs_hash
from reenact_zoo.datasets.base import ClipDataset
from reenact_zoo.evaluation.conditions import Stopwatch, pick_device
from reenact_zoo.evaluation.gallery import Gallery
from reenact_zoo.evaluation.progress import Bar
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.records import Record, write_record
from reenact_zoo.evaluation.scores import Scores
from reenact_zoo.methods.base import ReenactmentModule
from reenact_zoo.registry import DATASETS, METHODS, METRICS
from reenact_zoo.types import TARGET_KEYS, InputError, PairBatch
from reenact_zoo.weights.store import file_sha256

Method = ReenactmentModule[Any]


def run(
    protocol: Protocol,
    method_name: str,
    *,
    out: Path,
    root: Path | None = None,
    checkpoint: Path | None = None,
    device: str = "auto",
    limit: int | None = None,
    batch_size: int = 16,
    progress: bool = True,
    measurer: Any = None,
) -> Record:
    """Reenact every pair of ``protocol`` with a method, score it, and write record, per-pair values and pictures.

    Annotations that the method requires are estimated from pixels (unless the protocol says "oracle"); true targets
    never reach it. A pair that cannot be read, raises, or comes back with NaN is recorded as failed with its reason and
    the run goes on.

    Args:
        protocol: what is measured on which pairs.
        method_name: registered method, or "module:Class".
        out: folder of results.
        root: folder of the dataset, for protocols whose dataset lies with the user.
        checkpoint: the method's weights; methods without training have none.
        device: of the method; "auto" takes an accelerator where there is one.
        limit: only the first pairs; the record is marked partial.
        batch_size: pairs per batch; no value depends on it.
        progress: show a bar with rate and time left on stderr.
        measurer: ``faces.measure.FaceMeasurer`` to use; by default one is shared by all runs of the process and keeps
            its results in the user cache, so that source and driving frames are measured once however many methods and
            runs there are.

    Raises:
        InputError: unknown names, missing files, an annotation nobody can supply, ``out`` not writable, or a method
            that was trained with a judge of the protocol.
    """
    torch.manual_seed(0)
    place = pick_device(device)
    method = METHODS.get(method_name).ready(checkpoint, protocol.resolution).to(place)
    dataset = build_dataset(protocol, root)
    listed = protocol.select_pairs(dataset)
    pairs = listed[:limit]
    measurer = measurer if measurer is not None else shared_measurer()
    refuse_own_judge(method, method_name, protocol, measurer)
    session = _Session(
        protocol,
        method,
        EvaluationPairs(
            dataset,
            pairs,
            _cropped(dataset, protocol),
            protocol.resolution,
            relative=protocol.motion == "relative",
            whole_frames=protocol.crop.policy == "none",
            oracle=method.requires if protocol.annotations == "oracle" else frozenset(),
        ),
        _annotator(measurer),
        Scores(protocol, pairs, dataset, measurer),
        Gallery(out, protocol, method_name, pairs_hash(pairs), len(pairs)),
        Stopwatch(place),
    )
    session.go(batch_size, Bar(f"{protocol.name} · {method_name}", len(pairs), shown=progress))
    record = session.record(method_name, pairs, listed, file_sha256(checkpoint) if checkpoint else "")
    write_record(record, session.scores.columns(session.reasons), out)
    return record


def shared_measurer() -> Any:
    """One for the process, on disk too; a change of the environment it depends on makes a new one."""
    return _measurer(*(os.environ.get(f"REENACT_ZOO_{name}", "") for name in ("WEIGHTS", "CACHE", "LICENCE")))


@lru_cache(maxsize=1)
def _measurer(*environment: str) -> Any:
    from reenact_zoo.faces.measure import FaceMeasurer, measured_folder

    return FaceMeasurer(cache=measured_folder())


def refuse_own_judge(method: Method, method_name: str, protocol: Protocol, measurer: Any) -> None:
    """No method is measured by an instrument that its training looked at.

    Raises:
        InputError: names the instrument's weights and the metric.
    """
    trained_with = set(method.instruments)
    for name in protocol.metrics if trained_with else ():
        for quantity in METRICS.get(name).card.quantities:
            if own := sorted(trained_with.intersection(measurer.judges(quantity))):
                raise InputError(
                    f"method '{method_name}' was trained with '{own[0]}', which is the judge of metric '{name}'; "
                    "train it with another instrument, or take the metric out of the protocol"
                )


def _annotator(measurer: Any) -> Any:
    from reenact_zoo.faces.annotate import Annotator

    return Annotator(measurer)


def build_dataset(protocol: Protocol, root: Path | None) -> ClipDataset:
    """The protocol's dataset; ``root`` goes to the dataset's field of that name where it has one.

    Raises:
        InputError: the dataset needs a folder and none is given, or a field is wrong.
    """
    cls = DATASETS.get(protocol.dataset.name)
    fields = dict(protocol.dataset.config)
    known = cls.Config.__dataclass_fields__
    if root is not None and "root" in known:
        fields["root"] = str(root)
    if protocol.prerendered is not None:
        fields["pack"] = protocol.prerendered
    if "root" in known and not fields.get("root"):
        raise InputError(f"protocol '{protocol.name}' needs the folder of its data: --root FOLDER")
    config = structured(cls.Config, fields, f"dataset '{protocol.dataset.name}' of protocol '{protocol.name}'")
    return cast(ClipDataset, cls(config))


def _cropped(dataset: ClipDataset, protocol: Protocol) -> Any:
    from reenact_zoo.data.crops import CroppedClips, CropSpec
    from reenact_zoo.faces.detect import default_detector

    crop = protocol.crop
    spec = CropSpec(policy=crop.policy, scale=crop.scale, shift_y=crop.shift_y, size=protocol.resolution)
    return CroppedClips(dataset, spec, default_detector).image


@dataclass
class _Session:
    """The state of one run."""

    protocol: Protocol
    method: Method
    data: EvaluationPairs
    annotator: Any
    scores: Scores
    gallery: Gallery
    watch: Stopwatch
    reasons: dict[int, str] = field(default_factory=dict)  # index of a failed pair → why
    made: list[int] = field(default_factory=list)  # pairs given to the method, by batch

    def go(self, batch_size: int, bar: Bar) -> None:
        with bar:
            for first in range(0, len(self.data), batch_size):
                indices = range(first, min(first + batch_size, len(self.data)))
                self._batch(indices)
                bar.advance(len(indices), len(self.reasons))

    def _batch(self, indices: Sequence[int]) -> None:
        read = dict(self._read(indices))
        if not read:
            return
        batch, kept = collate(list(read.values())), list(read)
        with self.watch.stage("annotations"):
            seen = self.annotator.fill(without_targets(batch), self.method.requires)
        reenacted = self._reenact(seen, kept)
        pixels = without_annotations(batch)
        self.gallery.keep(kept, pixels, reenacted, self.reasons)
        self.scores.add(kept, pixels, reenacted)

    def _read(self, indices: Sequence[int]) -> Iterator[tuple[int, PairBatch]]:
        for index in indices:
            try:
                yield index, self.data[index]
            except InputError as error:
                self.reasons[index] = f"cannot be read: {error}"

    def _reenact(self, seen: PairBatch, kept: list[int]) -> Tensor:
        """(B, 3, H, W) on the CPU; rows of failed pairs are NaN and their reasons noted."""
        try:
            result = self._call(seen)
        except Exception as error:  # which pair is to blame? ask one by one
            result = self._one_by_one(seen, kept, error)
        for row, index in enumerate(kept):
            if index not in self.reasons and not result[row].isfinite().all():
                self.reasons[index] = _why_not_finite(seen, row)
                result[row] = torch.nan  # one bad pixel condemns the picture: no metric sees half of one
        return result

    def _one_by_one(self, seen: PairBatch, kept: list[int], error: Exception) -> Tensor:
        result = torch.full_like(seen["source"], torch.nan)
        for row, index in enumerate(kept):
            try:
                result[row] = self._call(rows(seen, [row]))[0]
            except Exception as reason:
                self.reasons[index] = " ".join(f"{type(reason).__name__}: {reason}".split())[:200]
        if not self.made and not isinstance(error, InputError):
            raise error  # not one pair of the first batch works: a fault of the method, not of the pairs
        return result

    def _call(self, seen: PairBatch) -> Tensor:
        batch = {k: v.to(self.watch.device) if isinstance(v, Tensor) else v for k, v in seen.items()}
        with torch.inference_mode(), self.watch.stage("method"):
            reenacted = self.method.reenact(cast(PairBatch, batch)).reenacted
        if reenacted.shape != seen["source"].shape:
            raise ValueError(f"reenacted has shape {tuple(reenacted.shape)}, source {tuple(seen['source'].shape)}")
        self.made.append(len(reenacted))
        return reenacted.clamp(0, 1).cpu()  # rounding may leave [0, 1]; clamping keeps NaN

    def record(self, method_name: str, pairs: list[Pair], listed: list[Pair], weights: str) -> Record:
        config = OmegaConf.to_container(OmegaConf.structured(self.method.config), enum_to_str=True)
        content = {k: v for k, v in asdict(self.protocol).items() if k != "source"}
        return Record(
            method=method_name,
            config=cast("dict[str, Any]", config),
            weights=weights,
            protocol=self.protocol.name,
            protocol_content=content,
            protocol_hash=self.protocol.hash,
            pairs_hash=pairs_hash(pairs),
            num_pairs=len(pairs),
            num_failed=len(self.reasons),
            failures=dict(Counter(self.reasons.values()).most_common()),
            partial=len(pairs) < len(listed),
            detection_rate=self.scores.detection_rate(),
            metrics=self.scores.results(set(self.reasons)),
            gallery=self.gallery.pairs,
            conditions=self.watch.conditions(self.made),
        )


def without_targets(batch: PairBatch) -> PairBatch:
    """What a method may see."""
    return cast(PairBatch, {key: value for key, value in batch.items() if key not in TARGET_KEYS})


def without_annotations(batch: PairBatch) -> PairBatch:
    """What metrics see: pictures and truth, so that no score depends on what a method happens to require."""
    kept = {"source", "driving", "driving_reference", "same_identity", "pair_id", *TARGET_KEYS}
    return cast(PairBatch, {key: value for key, value in batch.items() if key in kept})


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

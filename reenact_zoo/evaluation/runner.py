"""Runs one method on the pairs of one protocol, in batches, and writes the record; no picture outlives its batch.

What is found out about a pair is on disk before the next batch begins (``evaluation.cells``), so that a run that was
killed, a metric that was added, or a weight file that changed costs only what is not known yet. Batches are always the
same ones, whatever is known already and however many processes share them, so that every number comes out the same to
the last bit.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch

from reenact_zoo.config import structured
from reenact_zoo.data.crops import CroppedClips, CropSpec
from reenact_zoo.data.evaluation import EvaluationPairs
from reenact_zoo.data.pairs import Pair, pairs_hash
from reenact_zoo.datasets.base import ClipDataset
from reenact_zoo.evaluation.cells import Cells
from reenact_zoo.evaluation.conditions import Stopwatch, device_words, pick_device
from reenact_zoo.evaluation.gallery import Gallery
from reenact_zoo.evaluation.keys import picture_key
from reenact_zoo.evaluation.makers import Maker, load_maker
from reenact_zoo.evaluation.predictions import Rendered, load_predictions, row_name
from reenact_zoo.evaluation.protocol import Protocol
from reenact_zoo.evaluation.records import Record, plain, write_record
from reenact_zoo.evaluation.scores import Scores
from reenact_zoo.evaluation.session import Session
from reenact_zoo.registry import DATASETS, METRICS
from reenact_zoo.types import InputError, PairBatch


def run(
    protocol: Protocol,
    method_name: str,
    *,
    out: Path,
    root: Path | None = None,
    checkpoint: Path | None = None,
    device: str = "auto",
    limit: int | None = None,
    seed: int = 0,
    label: str = "",
    changes: Mapping[str, Any] | None = None,
    predictions: Rendered | None = None,
    batch_size: int = 16,
    progress: bool = True,
    tensorboard: bool = False,
    measurer: Any = None,
) -> Record:
    """Reenact every pair of ``protocol`` with a method, score it, and write record, per-pair values and pictures.

    Annotations that the method requires are estimated from pixels (unless the protocol says "oracle"); true targets
    never reach it. A pair that cannot be read, raises, or comes back with NaN is recorded as failed with its reason and
    the run goes on. What ``out`` knows already is not computed again.

    Where ``torch.distributed`` is initialised (Lightning's DDP, torchrun), every process calls this with the same
    arguments; they share the batches, the first one writes, and all return the same record.

    Args:
        protocol: what is measured on which pairs.
        method_name: registered method, "module:Class", or "bound:NAME" for an end of the scale made from the truth;
            with ``predictions`` no more than a name for the row.
        out: folder of results.
        root: folder of the dataset, for protocols whose dataset lies with the user.
        checkpoint: the method's weights; None: those that ship with the package, where it has any.
        device: of the method; "auto" takes an accelerator where there is one.
        limit: only the first pairs; the record is marked partial.
        seed: of random numbers, which depend on it and on the batch alone.
        label: name of the row where it is not to be the method's.
        changes: fields of the method's configuration to alter.
        predictions: pictures that are there already, to be scored instead of a method's.
        batch_size: pairs per batch; no value depends on it.
        progress: show a bar with rate and time left on stderr.
        tensorboard: write means and pictures for TensorBoard too.
        measurer: ``faces.measure.FaceMeasurer`` to use; by default one is shared by all runs of the process and keeps
            its results in the user cache, so that source and driving frames are measured once however many methods and
            runs there are.

    Raises:
        InputError: unknown names, missing files, an annotation nobody can supply, ``out`` not writable, or a method
            that was trained with a judge of the protocol.
    """
    torch.manual_seed(seed)
    place = pick_device(device)
    dataset = build_dataset(protocol, root)
    listed = protocol.select_pairs(dataset)
    pairs = listed[:limit]
    measurer = measurer if measurer is not None else shared_measurer()
    crops = _crops(dataset, protocol)
    data = _data(dataset, pairs, protocol, crops)
    maker: Maker
    if predictions is not None:
        label = row_name(predictions, label or method_name)
        maker = load_predictions(predictions, label, protocol, pairs, crops)
    else:
        maker = load_maker(
            method_name,
            checkpoint=checkpoint,
            resolution=protocol.resolution,
            changes=changes or {},
            device=place,
            pairs=cast("Sequence[PairBatch]", data),
        )
    if maker.sees_truth:
        _refuse_without_truth(method_name, data)
    if protocol.annotations == "oracle":
        data = _data(dataset, pairs, protocol, crops, oracle=maker.requires)
    refuse_own_judge(maker, protocol, measurer)
    words = device_words(place)
    key = picture_key(maker, protocol, dataset, measurer, seed=seed, device=words, pairs=pairs, out=out)
    session = Session(
        maker,
        pairs,
        data,
        seed,
        _annotator(measurer),
        Scores(protocol, pairs, dataset, measurer),
        Gallery(out, protocol, label or method_name, key, pairs),
        Cells(out / "cells" / key),
        Stopwatch(place),
    )
    session.go(batch_size, f"{protocol.name} · {label or method_name}", shown=progress)
    record = _record(session, protocol, partial=len(pairs) < len(listed), seed=seed, label=label, key=key)
    if session.share.first:
        write_record(record, session.scores.columns(), out)
        if tensorboard:
            from reenact_zoo.evaluation.board import write_board

            write_board(record, out)
    session.share.wait()
    record.folder = str(out)
    return record


def shared_measurer() -> Any:
    """One for the process, on disk too; a change of the environment it depends on makes a new one."""
    return _measurer(*(os.environ.get(f"REENACT_ZOO_{name}", "") for name in ("WEIGHTS", "CACHE", "LICENCE")))


@lru_cache(maxsize=1)
def _measurer(*environment: str) -> Any:
    from reenact_zoo.faces.measure import FaceMeasurer, measured_folder

    return FaceMeasurer(cache=measured_folder())


def refuse_own_judge(maker: Maker, protocol: Protocol, measurer: Any) -> None:
    """No method is measured by an instrument that its training looked at.

    Raises:
        InputError: names the instrument's weights and the metric.
    """
    for name in protocol.metrics if maker.instruments else ():
        if own := sorted(maker.instruments.intersection(METRICS.get(name)(measurer).judges())):
            raise InputError(
                f"method '{maker.name}' was trained with '{own[0]}', which is the judge of metric '{name}'; "
                "train it with another instrument, or take the metric out of the protocol"
            )


def _refuse_without_truth(name: str, data: EvaluationPairs) -> None:
    """A bound is made from a truth that this protocol has to know.

    Raises:
        InputError: it does not.
    """
    from reenact_zoo.evaluation.bounds import missing

    for index in range(len(data)):
        try:
            item = data[index]
        except InputError:  # a damaged file says nothing about the protocol
            continue
        if why := missing(name, item):
            raise InputError(why)
        return


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


def _data(
    dataset: ClipDataset,
    pairs: list[Pair],
    protocol: Protocol,
    crops: CroppedClips,
    oracle: frozenset[str] = frozenset(),
) -> EvaluationPairs:
    return EvaluationPairs(
        dataset,
        pairs,
        crops.image,
        protocol.resolution,
        relative=protocol.motion == "relative",
        whole_frames=protocol.crop.policy == "none",
        oracle=oracle,
        sources=protocol.sources,
    )


def _crops(dataset: ClipDataset, protocol: Protocol) -> CroppedClips:
    from reenact_zoo.faces.detect import default_detector

    crop = protocol.crop
    spec = CropSpec(policy=crop.policy, scale=crop.scale, shift_y=crop.shift_y, size=protocol.resolution)
    return CroppedClips(dataset, spec, default_detector)


def _record(session: Session, protocol: Protocol, *, partial: bool, seed: int, label: str, key: str) -> Record:
    maker, scores, pairs = session.maker, session.scores, session.pairs
    reasons = scores.reasons
    conditions = session.watch.conditions(session.laps)
    if not maker.timed:
        conditions.frames_per_s = None
    return Record(
        method=maker.name,
        config=maker.config,
        weights=maker.weights,
        protocol=protocol.name,
        protocol_content=plain({k: v for k, v in asdict(protocol).items() if k != "source"}),
        protocol_hash=protocol.hash,
        pairs_hash=pairs_hash(pairs),
        num_pairs=len(pairs),
        num_failed=len(reasons),
        failures=dict(Counter(reasons.values()).most_common()),
        partial=partial,
        detection_rate=scores.detection_rate(),
        metrics=scores.results(),
        gallery=session.gallery.kept(reasons),
        conditions=conditions,
        seed=seed,
        label=label,
        cells=key,
    )

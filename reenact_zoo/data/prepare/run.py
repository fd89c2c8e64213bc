"""A whole dataset: which clips are left to do, on which engine, and what came of it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reenact_zoo.consent import carry_terms
from reenact_zoo.data.engine import run_jobs
from reenact_zoo.data.prepare.boxes import OfficialBox
from reenact_zoo.data.prepare.clip import Context, Done, Job, Row, failed_row, prepare_clip, relative_reason
from reenact_zoo.data.prepare.spec import PrepareSpec, plan
from reenact_zoo.data.prepare.store import Store
from reenact_zoo.datasets.base import Clip, ClipDataset
from reenact_zoo.types import InputError

Progress = Callable[[int, int, int], None]
"""Told (clips done, clips in all, clips failed) after every clip; those done by an earlier run count as done."""


@dataclass
class Summary:
    """What a preparation gave.

    Attributes:
        out: the folder.
        clips, frames: that are there.
        failed: clips that are not.
        reasons: why, with how often.
        partial: what was left out on purpose, in words; "" for nothing.
    """

    out: Path
    clips: int = 0
    frames: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    partial: str = ""

    def add(self, row: Row) -> None:
        """Count a row of the index."""
        self.clips += not row["error"]
        self.frames += row["frames"]
        self.failed += bool(row["error"])
        if row["error"]:
            self.reasons[str(row["error"]).replace(f"'{row['clip']}'", "").split(";")[0]] += 1


def prepare(
    name: str,
    dataset: ClipDataset,
    out: Path,
    spec: PrepareSpec,
    *,
    boxes: Mapping[str, OfficialBox] | None = None,
    limit: int | None = None,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Prepare the clips of a dataset into shards and an index; continues where an earlier run stopped.

    The bytes depend on dataset, settings and versions alone: neither on the engine nor on how often it was stopped. A
    clip that fails is recorded with its reason and does not stop the run.

    Args:
        name: registered name of the dataset; its terms and removals go on to hold for the result.
        dataset: the clips.
        out: folder, new or left by an earlier run of the same preparation.
        spec: what is done to each clip.
        boxes: official boxes, for policy "boxes".
        limit: only the first clips; the index is marked partial.
        engine: as workers and address, see ``data.engine.run_jobs``.
        workers: at once.
        address: of a Ray cluster.
        progress: see ``Progress``.

    Raises:
        InputError: ``out`` holds something else, the disk is full, weights are missing, or an engine is not to be had.
    """
    if spec.policy == "boxes" and not boxes:
        raise InputError("policy 'boxes' needs the list of official boxes")
    everything = list(dataset.clips)
    clips = everything[:limit]
    config: dict[str, Any] = asdict(dataset.config) if hasattr(dataset, "config") else {}
    store = Store(out, plan(spec, name, config, _hash_of(everything, boxes or {}), limit), len(clips))
    if store.finished:
        store.tidy()
        return summary(out)
    with store.locked():
        if (root := getattr(dataset, "root", None)) is not None:
            carry_terms(name, root if root.is_dir() else root.parent, out)
        context = Context(dataset, spec, boxes or {})
        _work(store, context, clips, progress or _silent, engine=engine, workers=workers, address=address)
        made = Summary(out, partial=_partial(len(clips), len(everything), spec))
        store.finish(made.add, list(_unreadable(dataset)), {"partial": made.partial, "counted": len(everything)})
    return made


def _work(store: Store, context: Context, clips: list[Clip], progress: Progress, **engine: Any) -> None:
    todo = list(store.todo())
    done, failed = len(clips) - len(todo), 0
    progress(done, len(clips), failed)
    jobs = (Job(number, clips[number]) for number in todo)
    for job, result in run_jobs(prepare_clip, context, jobs, **engine):
        assert isinstance(result, Done)
        store.keep(job.number, result)
        done, failed = done + 1, failed + bool(result.row["error"])
        progress(done, len(clips), failed)


def summary(out: Path) -> Summary:
    """Of a finished preparation, from its index."""
    from reenact_zoo.datasets import _shards

    table, about = _shards.read_index(out)
    made = Summary(out, partial=about["partial"])
    for row in table.select(["clip", "frames", "error"]).to_pylist():
        made.add(row)
    return made


def _unreadable(dataset: ClipDataset) -> Iterator[Row]:
    """Files that the dataset had to leave out."""
    root = getattr(dataset, "root", None)
    skipped: Mapping[Path, str] = getattr(dataset, "skipped", {})
    for path in sorted(skipped):
        name = path.relative_to(root).as_posix() if root is not None and path.is_relative_to(root) else path.name
        yield failed_row(name, relative_reason(skipped[path], dataset))


def _hash_of(clips: list[Clip], boxes: Mapping[str, OfficialBox]) -> str:
    digest = hashlib.sha256()
    for clip in clips:
        box = boxes.get(clip.name)
        facts = [clip.name, clip.identity, clip.split, clip.num_frames, str(clip.frame_rate), sorted(clip.unknown)]
        digest.update(json.dumps([*facts, list(clip.people), asdict(box) if box else None]).encode() + b"\n")
    return digest.hexdigest()


def _partial(clips: int, everything: int, spec: PrepareSpec) -> str:
    parts = [f"the first {clips} of {everything} clips"] if clips < everything else []
    parts += [f"at most {spec.max_frames} frames of each"] if spec.max_frames else []
    return ", ".join(parts)


def _silent(done: int, total: int, failed: int) -> None:
    """No progress wanted."""

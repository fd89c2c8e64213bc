"""Making, checking and preparing data, and freezing the pairs of a protocol."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reenact_zoo.cli.data_check import accept_terms, check
from reenact_zoo.cli.terminal import example, print_rows
from reenact_zoo.types import InputError

if TYPE_CHECKING:
    from reenact_zoo.data.prepare.run import Progress, Summary

data_app = typer.Typer(no_args_is_help=True, help="Make, check and prepare data.")
data_app.command("check", epilog=example("data check my_videos"))(check)
data_app.command("accept-terms", epilog=example("data accept-terms ffpp /data/ffpp"))(accept_terms)

_REASONS = 8  # of failed clips, the most frequent first


class Generated(StrEnum):
    """Data sets that are made, not read."""

    SYNTHETIC = "synthetic"


class Policy(StrEnum):
    """What is cut out of the frames."""

    TUBE = "tube"
    BOXES = "boxes"
    NONE = "none"


class Codec(StrEnum):
    """How frames are stored."""

    JPEG = "jpeg"
    PNG = "png"


class Engine(StrEnum):
    """Where clips are prepared."""

    LOCAL = "local"
    POOL = "pool"
    RAY = "ray"


@data_app.command("generate", epilog=example("data generate synthetic --head ict --identities 8 --out my_heads"))
def data_generate(
    dataset: Annotated[Generated, typer.Argument(help="What to make.")],
    out: Annotated[Path, typer.Option(help="New folder for clips and annotations.")],
    head: Annotated[str, typer.Option(help="Head model: ict or procedural.")] = "procedural",
    identities: Annotated[int, typer.Option(min=1)] = 8,
    clips: Annotated[int, typer.Option(min=1, help="Clips per identity.")] = 1,
    frames: Annotated[int, typer.Option(min=1, help="Frames per clip.")] = 75,
    size: Annotated[int, typer.Option(min=16, help="Side in pixels.")] = 256,
    split: Annotated[str, typer.Option(help="train, val or test identities.")] = "train",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Render synthetic clips with landmarks, coefficients, parsing and mattes."""
    from reenact_zoo.data.generate import generate

    made = generate(
        out,
        head=head,
        identities=identities,
        clips=clips,
        frames=frames,
        image_size=size,
        split=split,
        progress=not quiet,
    )
    print(f"{made} clips in {out}")


@data_app.command("prepare", epilog=example("data prepare clips --root my_videos --out my_shards --engine pool"))
def data_prepare(
    dataset: Annotated[str, typer.Argument(help="Registered dataset, see `list datasets`.")],
    out: Annotated[Path, typer.Option(help="Folder for shards and index; one that was begun is continued.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    fields: Annotated[list[str] | None, typer.Option("--set", help="field=value of the dataset; repeat.")] = None,
    policy: Annotated[Policy, typer.Option(help="Square around the whole track, the official box, or none.")] = (
        Policy.TUBE
    ),
    boxes: Annotated[Path | None, typer.Option(help="CSV of official boxes, for --policy boxes.")] = None,
    scale: Annotated[float, typer.Option(help="Side of the square, times the longer side of the box.")] = 2.0,
    shift_y: Annotated[float, typer.Option(help="Its centre's offset in that side, positive down (tube).")] = -0.15,
    size: Annotated[int, typer.Option(min=16, help="Side of the frames in pixels.")] = 256,
    fps: Annotated[str, typer.Option(help="Frames per second; 'native' keeps every frame and its number.")] = "25",
    codec: Annotated[Codec, typer.Option(help="png is lossless.")] = Codec.JPEG,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG.")] = 95,
    annotate: Annotated[
        list[str] | None, typer.Option(help="landmarks (default), coefficients, parsing, matte, or none; repeat.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="Annotate what this method requires; repeat.")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="This process, local processes, or a Ray cluster.")] = Engine.LOCAL,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one per core.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster; without it one is started here.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N clips; marked partial.")] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Only the first N frames of each clip; marked partial.")
    ] = None,
    per_shard: Annotated[int, typer.Option(min=1, help="Clips per shard file.")] = 100,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Detect, track, crop, resize and annotate clips into shards that stream and an index that finds any frame.

    Stopped at any moment, the same command continues; the bytes are those of an uninterrupted run.
    """
    from reenact_zoo.data.prepare.boxes import read_boxes
    from reenact_zoo.data.prepare.run import prepare
    from reenact_zoo.data.prepare.spec import PrepareSpec, required_by

    spec = PrepareSpec(
        policy=policy.value,
        scale=scale,
        shift_y=shift_y,
        size=size,
        frame_rate="" if fps == "native" else fps,
        codec=codec.value,
        quality=quality,
        annotations=_annotations(annotate or ["landmarks"], required_by(method or ())),
        max_frames=max_frames,
        clips_per_shard=per_shard,
    )
    with _bar(f"preparing {dataset}", shown=not quiet) as progress:
        made = prepare(
            dataset,
            _dataset(dataset, root, fields or []),
            out,
            spec,
            boxes=read_boxes(boxes) if boxes else None,
            limit=limit,
            engine=engine.value,
            workers=workers,
            address=address,
            progress=progress,
        )
    _show(made)


@data_app.command("freeze", epilog=example("data freeze celebdf_cross /data/celebdf --out my_protocols"))
def data_freeze(
    protocol: Annotated[str, typer.Argument(help="Protocol with a pair rule, by name or YAML file.")],
    root: Annotated[Path, typer.Argument(help="Folder of its dataset.")],
    out: Annotated[Path, typer.Option(help="Folder for the frozen protocol and its pairs.")] = Path("protocols"),
) -> None:
    """Write down the pairs that a protocol's rule draws from your own files, and the hash that names them."""
    from reenact_zoo.evaluation.freeze import freeze

    frozen = freeze(protocol, root, out)
    print(f"{frozen.num_pairs} pairs: {frozen.pairs}")
    print(f"protocol: {frozen.protocol}")
    print(f"pairs sha256: {frozen.pairs_sha256}")
    print(f"protocol sha256: {frozen.protocol_sha256}")


def _annotations(asked: list[str], required: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*asked, *required} - {"none"}))


def _dataset(name: str, root: Path | None, fields: list[str]) -> Any:
    """A registered dataset whose fields come as text."""
    import yaml

    from reenact_zoo.config import structured
    from reenact_zoo.registry import DATASETS

    cls = DATASETS.get(name)
    values: dict[str, Any] = {}
    for text in fields:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set takes field=value, got '{text}'")
        values[key] = yaml.safe_load(value)
    if root is not None:
        values["root"] = str(root)
    return cls(structured(cls.Config, values, f"dataset '{name}'"))


@contextlib.contextmanager
def _bar(title: str, *, shown: bool) -> Any:
    """A function that draws the progress it is told."""
    from reenact_zoo.evaluation.progress import Bar

    with contextlib.ExitStack() as stack:
        bar: list[Bar] = []
        before = [0]

        def progress(done: int, total: int, failed: int) -> None:
            if not bar:
                bar.append(stack.enter_context(Bar(title, total, shown=shown)))
            bar[0].advance(done - before[0], failed)
            before[0] = done

        told: Progress = progress
        yield told


def _show(made: Summary) -> None:
    frames = f"{made.frames} frames" + (f"; partial: {made.partial}" if made.partial else "")
    print(f"{made.out}: {made.clips} clips, {frames}; {made.failed} failed")
    if made.reasons:
        rows = [(f"{count} clips", reason) for reason, count in made.reasons.most_common(_REASONS)]
        print_rows("failed", rows)

"""The command line: thin wrappers that turn arguments into one library call and mistakes into one line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reenact_zoo import __version__
from reenact_zoo.cli.benchmark import benchmark, evaluate
from reenact_zoo.cli.data import data_app
from reenact_zoo.cli.options import Device, Quiet
from reenact_zoo.cli.stock import list_things, metrics_app
from reenact_zoo.cli.study import study_app
from reenact_zoo.cli.table import table
from reenact_zoo.cli.terminal import Commands, example
from reenact_zoo.cli.validity import validate_metrics
from reenact_zoo.cli.weights import LicenceOption, weights_app

app = typer.Typer(
    cls=Commands,
    name="reenact-zoo",
    help="One-shot face reenactment: train, compare and use many methods through one interface.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("list", epilog=example("list methods"))(list_things)
app.command("evaluate", epilog=example("evaluate landmark_warp synthetic_cross_64 --out runs/eval"))(evaluate)
app.command(
    "benchmark", epilog=example("benchmark clips --root my_videos --method landmark_warp --method copy_source")
)(benchmark)
app.command("table", epilog=example("table reports/quickstart --format latex"))(table)
app.command("validate-metrics", epilog=example("validate-metrics --limit 24 --out docs"))(validate_metrics)
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")
app.add_typer(metrics_app, name="metrics")
app.add_typer(study_app, name="study")


class NoFace(StrEnum):
    """What a frame without a face becomes."""

    HOLD = "hold"
    SKIP = "skip"
    SOURCE = "source"
    FAIL = "fail"


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        print(f"reenact_zoo {__version__}")
        raise typer.Exit


@app.command(epilog=example("train configs/train/example_synthetic.yaml max_updates=200 method.width=16"))
def train(
    config: Annotated[str, typer.Argument(help="YAML file, or the name of a packaged one.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, dotted keys.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<config>/<time>.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Checkpoint or run folder to go on from, exactly where it stopped.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a method: TensorBoard scalars and pictures, checkpoints, exact resume."""
    from reenact_zoo.config import load_train_config
    from reenact_zoo.train.fit import fit

    checkpoint = fit(load_train_config(config, overrides or []), out=out, resume=resume, quiet=quiet)
    print(f"checkpoint: {checkpoint}")


@app.command(epilog=example("animate --source face.png --driving clip.mp4 --out result.mp4"))
def animate(
    source: Annotated[
        list[Path],
        typer.Option(
            "--source", "-s", help="Picture of the person to animate; again for more, where a method uses them."
        ),
    ],
    driving: Annotated[Path, typer.Option("--driving", "-d", help="Video, frame folder or picture that drives.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Video (.mp4), picture (.png) or folder of frames.")],
    method: Annotated[str, typer.Option("--method", "-m", help="Registered method.")] = "landmark_warp",
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of a method that was trained.")] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Side of the square result in pixels.")] = None,
    no_face: Annotated[NoFace, typer.Option(help="What a driving frame without a face becomes.")] = NoFace.HOLD,
    face: Annotated[int | None, typer.Option(min=0, help="Which face, 0 = largest, where there are several.")] = None,
    relative: Annotated[bool, typer.Option(help="Motion relative to the first driving frame.")] = False,
    best_frame: Annotated[
        bool, typer.Option("--best-frame", help="Relative motion counts from the frame most like the source.")
    ] = False,
    paste_back: Annotated[bool, typer.Option(help="Put the result back into the whole source picture.")] = False,
    concat: Annotated[bool, typer.Option(help="Source, driving and result side by side.")] = False,
    whole: Annotated[bool, typer.Option("--whole", help="Whole pictures instead of squares around the face.")] = False,
    consent: Annotated[str, typer.Option(help="Consent of the person shown, in words; kept beside the result.")] = "",
    device: Device = "auto",
    quiet: Quiet = False,
    licence: LicenceOption = None,
) -> None:
    """Make the person in SOURCE perform the motion of DRIVING; keeps its exact frame rate and audio.

    The result is marked as synthetic in its metadata and in a JSON file beside it.
    """
    from reenact_zoo.serving.animate import animate as run

    result = run(
        source,
        driving,
        out,
        method=method,
        checkpoint=checkpoint,
        no_face=no_face.value,
        face=face,
        relative=relative,
        best_frame=best_frame,
        paste_back=paste_back,
        size=size,
        concat=concat,
        whole=whole,
        consent=consent,
        device=device,
        progress=not quiet,
    )
    if not quiet:
        counts = ", ".join(f"{count} {status}" for status, count in result.counts.items() if count)
        rate = f"{result.frames_per_second:.1f} frames per second"
        print(f"{result.out}: {result.num_frames} frames at {result.frame_rate} Hz ({counts}; {rate})")


def main() -> None:
    """Entry point of ``reenact-zoo``."""
    app()

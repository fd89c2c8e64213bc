"""The command line: thin wrappers that turn arguments into one library call and mistakes into one line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from reenact_zoo import __version__
from reenact_zoo.cli.data import data_app
from reenact_zoo.cli.stock import list_things, metrics_app
from reenact_zoo.cli.terminal import Commands, console, example, fail
from reenact_zoo.cli.weights import LicenceOption, weights_app
from reenact_zoo.registry import METHODS
from reenact_zoo.types import InputError

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
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")
app.add_typer(metrics_app, name="metrics")

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, only results and errors.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N pairs; the record is marked partial.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the data set, for protocols that need one.")]


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


@app.command(epilog=example("evaluate landmark_warp synthetic_cross_64 --out runs/eval"))
def evaluate(
    method: Annotated[str, typer.Argument(help="Registered method, or module:Class.")],
    protocol: Annotated[str, typer.Argument(help="Protocol name or YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder for records.")] = Path("runs/evaluation"),
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of a method that was trained.")] = None,
    root: Root = None,
    limit: Limit = None,
    device: Device = "auto",
    quiet: Quiet = False,
    licence: LicenceOption = None,
) -> None:
    """Measure one method on one protocol; writes a record and its per-pair values."""
    _benchmark([protocol], [method], out, {method: checkpoint} if checkpoint else {}, root, limit, device, quiet)


@app.command(epilog=example("benchmark clips --root my_videos --method landmark_warp --method copy_source"))
def benchmark(
    names: Annotated[list[str], typer.Argument(help="Suites or protocols, by name or YAML file.")],
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help="Method; repeat for several.")] = None,
    checkpoint: Annotated[list[str] | None, typer.Option(help="method=path; repeat for several.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for records and report; default reports/<names>.")] = None,
    root: Root = None,
    limit: Limit = None,
    device: Device = "auto",
    quiet: Quiet = False,
    licence: LicenceOption = None,
) -> None:
    """Compare methods side by side: a table here, and an HTML report whose path is printed."""
    from reenact_zoo.evaluation.protocol import load_suite, suite_names

    protocols: list[str] = []
    methods = list(method or [])
    for name in names:
        if name in suite_names():
            suite = load_suite(name)
            protocols += suite.protocols
            methods += [] if method else [m for m in suite.methods if m not in methods]
        else:
            protocols.append(name)
    methods = methods or METHODS.names()
    folder = out or Path("reports") / "-".join(Path(n).stem for n in names)
    _benchmark(protocols, methods, folder, _checkpoints(checkpoint or []), root, limit, device, quiet)


def _checkpoints(pairs: list[str]) -> dict[str, Path]:
    found = {}
    for pair in pairs:
        method, _, path = pair.partition("=")
        if not path:
            raise InputError(f"--checkpoint takes method=path, got '{pair}'")
        found[method] = Path(path)
    return found


def _benchmark(
    protocols: list[str],
    methods: list[str],
    out: Path,
    checkpoints: dict[str, Path],
    root: Path | None,
    limit: int | None,
    device: str,
    quiet: bool,
) -> None:
    from reenact_zoo.evaluation.protocol import load_protocol
    from reenact_zoo.evaluation.report import write_report
    from reenact_zoo.evaluation.runner import run
    from reenact_zoo.evaluation.table import build_table

    loaded = [load_protocol(name) for name in protocols]
    classes = {name: METHODS.get(name) for name in methods}  # a misspelt name fails before the first pair
    records, failed = [], []
    for protocol in loaded:
        for name in classes:
            options: dict[str, Any] = {"root": root, "checkpoint": checkpoints.get(name), "device": device}
            try:
                records.append(run(protocol, name, out=out, limit=limit, progress=not quiet, **options))
            except InputError as error:  # one method without its weights does not cost the others their table
                failed.append(f"{name} on {protocol.name}: {error}")
    if not records:
        raise InputError(failed[0])
    screen = console()
    for protocol in loaded:
        build_table([r for r in records if r.protocol == protocol.name]).print(screen)
    page = write_report(out)
    screen.print(f"report: {page.resolve()}", soft_wrap=True, markup=False)
    if failed:
        fail("not measured: " + "; ".join(failed), 2)


@app.command(epilog=example("animate --source face.png --driving clip.mp4 --out result.mp4"))
def animate(
    source: Annotated[Path, typer.Option("--source", "-s", help="Picture of the person to animate.")],
    driving: Annotated[Path, typer.Option("--driving", "-d", help="Video, frame folder or picture that drives.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Video (.mp4), picture (.png) or folder of frames.")],
    method: Annotated[str, typer.Option("--method", "-m", help="Registered method.")] = "landmark_warp",
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of a method that was trained.")] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Side of the square result in pixels.")] = None,
    no_face: Annotated[NoFace, typer.Option(help="What a driving frame without a face becomes.")] = NoFace.HOLD,
    face: Annotated[int | None, typer.Option(min=0, help="Which face, 0 = largest, where there are several.")] = None,
    relative: Annotated[bool, typer.Option(help="Motion relative to the first driving frame.")] = False,
    paste_back: Annotated[bool, typer.Option(help="Put the result back into the whole source picture.")] = False,
    concat: Annotated[bool, typer.Option(help="Source, driving and result side by side.")] = False,
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
        paste_back=paste_back,
        size=size,
        concat=concat,
        consent=consent,
        device=device,
        progress=not quiet,
    )
    if not quiet:
        counts = ", ".join(f"{count} {status}" for status, count in result.counts.items() if count)
        rate = f"{result.frames_per_second:.1f} frames per second"
        print(f"{result.out}: {result.num_frames} frames at {result.frame_rate} Hz ({counts}; {rate})")


class Format(StrEnum):
    """Forms of a table."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"


@app.command(epilog=example("table reports/quickstart --format latex"))
def table(
    folder: Annotated[Path, typer.Argument(help="Folder of records.")],
    protocol: Annotated[str | None, typer.Option(help="Only this protocol.")] = None,
    form: Annotated[Format, typer.Option("--format", "-f")] = Format.TERMINAL,
) -> None:
    """Tables from records, nothing typed in."""
    from reenact_zoo.evaluation.records import read_records
    from reenact_zoo.evaluation.table import build_table

    records = [r for r in read_records(folder) if protocol in (None, r.protocol)]
    if not records:
        raise InputError(f"no records of {protocol or 'any protocol'} in {folder}; run a benchmark first")
    for name in dict.fromkeys(r.protocol for r in records):
        built = build_table([r for r in records if r.protocol == name])
        if form is Format.TERMINAL:
            built.print(console())
        else:
            print({Format.MARKDOWN: built.markdown, Format.CSV: built.csv, Format.LATEX: built.latex}[form]())


def main() -> None:
    """Entry point of ``reenact-zoo``."""
    app()

"""``reenact-zoo evaluate`` and ``benchmark``: methods on protocols, into records, tables and a report."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from reenact_zoo.cli.data import Engine
from reenact_zoo.cli.options import Device, Limit, Quiet, Root
from reenact_zoo.cli.terminal import console, fail
from reenact_zoo.cli.weights import LicenceOption
from reenact_zoo.registry import METHODS
from reenact_zoo.types import InputError

if TYPE_CHECKING:
    from reenact_zoo.evaluation.benchmark import Context, Job
    from reenact_zoo.evaluation.records import Record

Board = Annotated[bool, typer.Option(help="Means and pictures for TensorBoard too, in OUT/tensorboard.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="field=value of the method's configuration; repeat for several.")
]


def evaluate(
    method: Annotated[
        str, typer.Argument(help="Registered method, module:Class, or bound:NAME; with --pred a name for the row.")
    ] = "",
    protocol: Annotated[str, typer.Argument(help="Protocol name or YAML file; or --protocol NAME.")] = "",
    named: Annotated[str, typer.Option("--protocol", help="Protocol name or YAML file.")] = "",
    pred: Annotated[
        Path | None, typer.Option(help="Score the pictures that are here: a folder of images or clips, or a CSV.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="How they are found: auto, names, csv, ffpp_reenacted, ffpp_swapped.")
    ] = "auto",
    out: Annotated[Path, typer.Option(help="Folder for records.")] = Path("runs/evaluation"),
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of a method that was trained.")] = None,
    label: Annotated[str, typer.Option(help="Name of the row, where it is not the method's.")] = "",
    settings: Settings = None,
    seed: Annotated[int, typer.Option(min=0, help="Of random numbers.")] = 0,
    devices: Annotated[int, typer.Option(min=1, help="Processes that share the pairs (Lightning's DDP).")] = 1,
    root: Root = None,
    limit: Limit = None,
    device: Device = "auto",
    tensorboard: Board = True,
    quiet: Quiet = False,
    licence: LicenceOption = None,
) -> None:
    """Measure one method on one protocol; writes a record and its per-pair values. A call that was stopped goes on.

    With --pred the pictures are not made but read: what another project rendered becomes a row like any other.
    """
    from reenact_zoo.evaluation.benchmark import Context, Job
    from reenact_zoo.evaluation.predictions import Rendered, row_name
    from reenact_zoo.evaluation.protocol import load_protocol

    if protocol and named and protocol != named:
        raise InputError(f"two protocols: '{protocol}' and --protocol '{named}'; give one")
    if not (protocol or named):
        raise InputError("no protocol given: --protocol NAME; `reenact-zoo list` shows them")
    rendered = None
    if pred is not None:
        if checkpoint or settings:
            raise InputError("--checkpoint and --set change how a method makes pictures; those of --pred are there")
        rendered = Rendered(pred, layout)
        label = row_name(rendered, label or method)
        method = method or label
    else:
        _refuse_without_method(method, layout)
    device, first = _launched(devices, device)
    job = Job(load_protocol(protocol or named), method, seed, checkpoint, label, _changes(settings or []), rendered)
    _measure([job], Context(out, root, device, limit, tensorboard), quiet=quiet, first=first)


def benchmark(
    names: Annotated[list[str], typer.Argument(help="Suites or protocols, by name or YAML file.")],
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help="Method; repeat for several.")] = None,
    checkpoint: Annotated[list[str] | None, typer.Option(help="method=path; repeat for several.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Of random numbers; repeat for several.")] = None,
    bounds: Annotated[
        bool | None, typer.Option(help="Rows made from the truth, to read the others by; default as the suites say.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for records and report; default reports/<names>.")] = None,
    root: Root = None,
    limit: Limit = None,
    device: Device = "auto",
    engine: Annotated[Engine, typer.Option(help="This process, local processes, or a Ray cluster.")] = Engine.LOCAL,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; default one per GPU, else per core.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster; without it one is started here.")] = None,
    tensorboard: Board = True,
    quiet: Quiet = False,
    licence: LicenceOption = None,
) -> None:
    """Compare methods side by side: a table here, and an HTML report whose path is printed. A stopped one goes on."""
    from reenact_zoo.evaluation.benchmark import Context, jobs_of
    from reenact_zoo.evaluation.bounds import BOUNDS
    from reenact_zoo.evaluation.protocol import load_protocol, load_suite, suite_names

    protocols: list[str] = []
    methods, with_bounds = list(method or []), True
    possible: set[str] = set()
    for name in names:
        if name in suite_names():
            suite = load_suite(name)
            with_bounds &= suite.bounds
            protocols += suite.protocols
            if not method:
                methods += [m for m in [*suite.methods, *suite.where_possible] if m not in methods]
                possible |= {*suite.where_possible} - {*suite.methods}
        else:
            protocols.append(name)
    methods = methods or METHODS.names()
    for name in methods:
        _known(name)  # a misspelt name fails before the first pair
    checkpoints = _checkpoints(checkpoint or [])
    loaded = [load_protocol(name) for name in protocols]
    ends = BOUNDS if (with_bounds if bounds is None else bounds) else ()
    rows = [*methods, *[name for name in ends if name not in methods]]
    folder = out or Path("reports") / "-".join(Path(n).stem for n in names)
    jobs = list(jobs_of(loaded, rows, seeds=seed or [0], checkpoints=checkpoints))
    context = Context(folder, root, device, limit, tensorboard)
    optional = set(rows) - set(methods)
    options: dict[str, Any] = {"engine": engine.value, "workers": workers, "address": address}
    _measure(jobs, context, quiet=quiet, optional=optional, possible=possible, **options)


def _refuse_without_method(method: str, layout: str) -> None:
    if not method:
        raise InputError("no method given; `reenact-zoo list` shows them, --pred FOLDER scores pictures that are there")
    if layout != "auto":
        raise InputError("--layout says how the pictures of --pred are found; give --pred too")
    _known(method)


def _known(name: str) -> None:
    from reenact_zoo.evaluation.makers import is_bound

    if not is_bound(name):
        METHODS.get(name)


def _checkpoints(pairs: list[str]) -> dict[str, Path]:
    found = {}
    for pair in pairs:
        method, _, path = pair.partition("=")
        if not path:
            raise InputError(f"--checkpoint takes method=path, got '{pair}'")
        found[method] = Path(path)
    return found


def _changes(settings: list[str]) -> dict[str, Any]:
    found = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not (name and equals):
            raise InputError(f"--set takes field=value, got '{setting}'")
        try:
            found[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {name}: cannot read '{text}'") from error
    return found


def _launched(devices: int, device: str) -> tuple[str, bool]:
    """Device of this process, and whether it is the first of those that share the run."""
    if devices == 1:
        return device, True
    import torch
    from lightning_fabric import Fabric

    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    fabric = Fabric(accelerator="cuda" if on_gpu else "cpu", devices=devices, strategy="ddp")
    fabric.launch()  # starts this very command once more for each further process
    return str(fabric.device), fabric.is_global_zero


def _measure(
    jobs: Sequence[Job],
    context: Context,
    *,
    quiet: bool,
    first: bool = True,
    optional: Collection[str] = (),
    possible: Collection[str] = (),
    **engine: Any,
) -> None:
    """Run, then show; rows of ``optional`` methods may be absent without a word, those of ``possible`` with one."""
    from reenact_zoo.evaluation.benchmark import run_all

    outcomes = run_all(jobs, context, progress=not quiet, **engine)
    records = [outcome for _, outcome in outcomes if not isinstance(outcome, str)]
    absent = [(job, why) for job, why in outcomes if isinstance(why, str) and job.method not in optional]
    if not first:
        return
    if absent and all(isinstance(why, str) or job.method in optional for job, why in outcomes):
        raise InputError(f"{absent[0][0].title}: {absent[0][1]}")
    _show(records, context.out)
    for method, why in {job.method: why for job, why in absent if job.method in possible}.items():
        console().print(f"not run: {method}: {why}", soft_wrap=True, markup=False)
    absent = [(job, why) for job, why in absent if job.method not in possible]
    if absent:
        fail("not measured: " + "; ".join(f"{job.title}: {why}" for job, why in absent), 2)


def _show(records: Sequence[Record], out: Path) -> None:
    from reenact_zoo.evaluation.report import write_report
    from reenact_zoo.evaluation.table import build_table

    screen = console()
    for name in dict.fromkeys(record.protocol for record in records):
        build_table([record for record in records if record.protocol == name]).print(screen)
    page = write_report(out)
    screen.print(f"report: {page.resolve()}", soft_wrap=True, markup=False)

"""Time and memory of every trained method at 256×256, batch 1, in float32 and in the automatic precision.

    python benchmarks/speed/methods.py [--methods fomm one_shot …] [--repeats 10] [--device cuda] [--json out.json]

A method is built as its `configs/train/<method>_voxceleb.yaml` says, which is the size of its paper or of its released
code, with fresh weights: time does not depend on their values. Pictures and annotations are the schematic faces of the
contract tests, so what is timed is the method alone, without the instruments that find landmarks, coefficients or
mattes. Every pair of method and precision runs in a process of its own, one after the other, in rounds over all; the
first pass of a process, in which kernels are chosen and code is compiled, is not counted.

"once" is what a clip pays for its source, "frame" what it pays for every driving frame: medians, of the fastest round.
"MiB" is the most that a pass holds beyond the weights. "× first" compares the time per frame with that of the first
method in the same precision. The automatic precision is bfloat16 autocast with channels-last layout where the device
multiplies bfloat16 in hardware, else float32 with the layout the method chose; lines below the table say which it was.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from reenact_zoo.config import PRECISIONS as KNOWN_PRECISIONS
from reenact_zoo.config import load_train_config, packaged_names
from reenact_zoo.faces.coefficients import LAYOUT
from reenact_zoo.registry import METHODS
from reenact_zoo.testing.batches import synthetic_batch
from reenact_zoo.train.precision import Precision, autocast, choose_precision
from reenact_zoo.types import InputError, PairBatch

SIZE = 256
FIRST = "fomm"
CONFIG = "{}_voxceleb"
MIB = 2**20


@dataclass(frozen=True)
class Figures:
    """What one method costs in one precision.

    Attributes:
        method: registered name.
        precision: as asked for.
        used: what that stood for here.
        parameters: millions, of all networks that reenacting needs or training adds.
        once_ms: encode_source, median.
        frame_ms: drive, median.
        memory_mib: most that was held beyond the weights; None where the system does not tell.
        deviation: mean absolute difference of the picture from float32's, in [0, 1].
    """

    method: str
    precision: str
    used: str
    parameters: float
    once_ms: float
    frame_ms: float
    memory_mib: float | None
    deviation: float


def measure(name: str, precision: str, repeats: int, device: str) -> Figures:
    """Time one method in this process.

    Raises:
        InputError: the method cannot be built here.
    """
    config = load_train_config(CONFIG.format(name))
    torch.manual_seed(0)
    method = METHODS.get(name)(config.method_config).eval().requires_grad_(False)
    warm_up, batch = (_batch(method.requires, seed) for seed in (1, 0))
    used, reason = choose_precision(method, warm_up, precision, device)  # before the method moves, as training does
    if used == "bf16-mixed":
        method.use_channels_last()
    method.to(device)
    warm_up, batch = (_moved(part, device) for part in (warm_up, batch))

    with torch.inference_mode():
        exact = method.reenact(batch).reenacted.float()
        _picture(method, warm_up, used, device)
        memory = _peak(lambda: _picture(method, batch, used, device), device)
        made = _picture(method, batch, used, device)
        once, frame = [], []
        for _ in range(repeats):
            with autocast(device, used):
                seconds, state = _timed(lambda: method.encode_source(batch), device)
                once.append(seconds)
                seconds, _ = _timed(lambda: method.drive(state, batch), device)  # noqa: B023 - called at once
                frame.append(seconds)
    return Figures(
        method=name,
        precision=precision,
        used="bfloat16" if used == "bf16-mixed" else f"float32, {reason}" if precision == "auto" else "float32",
        parameters=sum(p.numel() for p in method.parameters()) / 1e6,
        once_ms=1000 * statistics.median(once),
        frame_ms=1000 * statistics.median(frame),
        memory_mib=memory,
        deviation=float((made - exact).abs().mean()),
    )


def _batch(keys: frozenset[str], seed: int) -> PairBatch:
    """A pair with what the method asks for; coefficients are rows of the bundled E_3D, as ``Annotator`` gives them."""
    batch: Any = synthetic_batch(SIZE, 1, keys, seed=seed)
    for key in batch:
        if key.endswith("_coefficients"):
            batch[key] = batch[key][:, : LAYOUT.total]
    return batch


def _moved(batch: PairBatch, device: str) -> PairBatch:
    moved: Any = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    return moved


def _picture(method: Any, batch: PairBatch, precision: Precision, device: str) -> torch.Tensor:
    with autocast(device, precision):
        found: torch.Tensor = method.reenact(batch).reenacted
    return found.float()


def _timed(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    _wait(device)
    begin = time.perf_counter()
    result = work()
    _wait(device)
    return time.perf_counter() - begin, result


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _peak(work: Callable[[], Any], device: str) -> float | None:
    """Most MiB held during ``work`` beyond what was held before."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        _wait(device)
        return (torch.cuda.max_memory_allocated() - before) / MIB
    try:
        _give_back()
        # Linux then forgets the highest value so far
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return (highest - before) / 1024 if highest > before else None
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 1024


def _give_back() -> None:
    """Unused memory of earlier passes goes back to the system, where the C library knows how (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(key: str) -> int:
    """A line of /proc/self/status in KiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {key}")


def in_own_process(name: str, precision: str, repeats: int, device: str) -> Figures | str:
    """Figures, or why there are none."""
    command = [sys.executable, __file__, "--one", name, precision, "--repeats", str(repeats), "--device", device]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return Figures(**json.loads(lines[-1]))
    return (done.stderr.strip().splitlines() or ["ended without a word"])[-1]


def fastest(rounds: list[Figures]) -> Figures:
    """The least of each time: other work on the machine only ever slows a round down."""
    once, frame = min(f.once_ms for f in rounds), min(f.frame_ms for f in rounds)
    return replace(rounds[0], once_ms=once, frame_ms=frame)


def timed_methods() -> list[str]:
    """Methods with a configuration of their paper's size, ``FIRST`` in front."""
    ending = CONFIG.format("")
    names = [name.removesuffix(ending) for name in packaged_names() if name.endswith(ending)]
    known = [name for name in names if name in METHODS.names()]
    return sorted(known, key=lambda name: (name != FIRST, name))


def show(found: list[Figures], console: Console) -> None:
    reference = {f.precision: f.frame_ms for f in reversed(found)}
    table = Table("method", "precision", "M par.", "once ms", "frame ms", "× first", "MiB", title=f"{SIZE} px, batch 1")
    for f in found:
        memory = "?" if f.memory_mib is None else f"{f.memory_mib:.0f}"
        ratio = f"{f.frame_ms / reference[f.precision]:.2f}"
        numbers = (f"{f.parameters:.1f}", f"{f.once_ms:.0f}", f"{f.frame_ms:.0f}", ratio, memory)
        table.add_row(f.method, f.precision, *numbers)
    console.print(table)
    for precision in dict.fromkeys(f.precision for f in found):
        rows = [f for f in found if f.precision == precision]
        for used in dict.fromkeys(f.used for f in rows):
            names = ", ".join(
                f"{f.method} ({f.deviation:.4f})" if f.deviation else f.method for f in rows if f.used == used
            )
            console.print(f"{precision} is {used}: {names}", markup=False)
    if any(f.deviation for f in found):
        console.print("in brackets: mean absolute difference of the picture from float32's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", help="registered names; omitted: all with such a configuration")
    parser.add_argument("--precisions", nargs="+", choices=KNOWN_PRECISIONS, default=["32-true", "auto"])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2, help="over all methods; the fastest of each counts")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "PRECISION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        try:
            name, precision = arguments.one
            print(json.dumps(asdict(measure(name, precision, arguments.repeats, arguments.device))))
        except InputError as error:
            sys.exit(str(error))
        return
    console = Console()
    wanted = [(name, precision) for name in arguments.methods or timed_methods() for precision in arguments.precisions]
    rounds: dict[tuple[str, str], list[Figures]] = {each: [] for each in wanted}
    for number in range(arguments.rounds):
        for name, precision in wanted:
            result = in_own_process(name, precision, arguments.repeats, arguments.device)
            if isinstance(result, Figures):
                rounds[name, precision].append(result)
            elif number == 0:
                console.print(f"{name}, {precision}: not timed: {result}", soft_wrap=True, markup=False)
    found = [fastest(results) for results in rounds.values() if results]
    if found:
        show(found, console)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{os.cpu_count()} cores"
    console.print(f"{device} ({platform.machine()}), torch {torch.__version__}, load average {load}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(f) for f in found], indent=2) + "\n", encoding="utf-8")
    if not found:
        sys.exit("no method could be timed")


if __name__ == "__main__":
    main()

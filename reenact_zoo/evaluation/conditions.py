"""On what and how fast a record was made."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import reenact_zoo
from reenact_zoo.evaluation.cells import Lap
from reenact_zoo.evaluation.records import Conditions
from reenact_zoo.types import InputError

_LIBRARIES = ("reenact_zoo", "torchvision", "pytorch-lightning", "torchmetrics", "numpy", "onnxruntime", "dlib-bin")


def pick_device(name: str) -> torch.device:
    """Device of that name; "auto" takes an accelerator where there is one.

    Raises:
        InputError: a name PyTorch does not know, or a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from error
    return device


@dataclass
class Stopwatch:
    """Seconds of a batch by stage; waits for the accelerator, whose work would else be booked on the next stage."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    begun: float = field(default_factory=time.perf_counter)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    laps: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Book the time of the block on ``name``."""
        begun = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun

    def lap(self, pictures: int) -> Lap:
        """What passed since the last lap, in which the method made ``pictures``."""
        now = time.perf_counter()
        on_device = self.device.type == "cuda"
        lap = Lap(
            pictures=pictures,
            method_s=round(self.seconds.get("method", 0.0), 6),
            annotation_s=round(self.seconds.get("annotations", 0.0), 6),
            total_s=round(now - self.begun, 6),
            memory_mb=round(_peak_memory_mb(), 1),
            device_memory_mb=round(torch.cuda.max_memory_allocated(self.device) / 1e6, 1) if on_device else None,
            warm=self.laps > 0,
        )
        self.begun, self.seconds, self.laps = now, {}, self.laps + 1
        return lap

    def conditions(self, laps: Sequence[Lap]) -> Conditions:
        """Of all batches behind a record, whichever process or earlier run they were made by."""
        device_memory = [lap.device_memory_mb for lap in laps if lap.device_memory_mb is not None]
        return Conditions(
            versions=_versions(),
            commit=commit(),
            device=device_words(self.device),
            threads=torch.get_num_threads(),
            started=self.started,
            seconds=round(sum(lap.total_s for lap in laps), 3),
            method_seconds=round(sum(lap.method_s for lap in laps), 4),
            annotation_seconds=round(sum(lap.annotation_s for lap in laps), 4),
            frames_per_s=_rate(laps),
            peak_memory_mb=max([lap.memory_mb for lap in laps], default=round(_peak_memory_mb(), 1)),
            peak_device_memory_mb=max(device_memory, default=None),
        )


def device_words(device: torch.device) -> str:
    """Which hardware a device is."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({_processor()})"


def _rate(laps: Sequence[Lap]) -> float | None:
    """Pictures per second inside the method; the first batch of a process compiles kernels and fills caches."""
    made = [lap for lap in laps if lap.pictures]
    counted = [lap for lap in made if lap.warm] or made
    seconds = sum(lap.method_s for lap in counted)
    return round(sum(lap.pictures for lap in counted) / seconds, 2) if seconds > 0 else None


def _versions() -> dict[str, str]:
    libraries = {name: known for name in _LIBRARIES if (known := _version(name))}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **libraries}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _peak_memory_mb() -> float:
    import resource  # not on every platform

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def commit() -> str:
    """Commit of the checkout this package is run from, "+changes" where tracked files differ; "" otherwise."""
    root = Path(reenact_zoo.__file__).resolve().parents[1]
    if not (root / "setup.cfg").is_file():
        return ""
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()

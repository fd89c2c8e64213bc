"""On what and how fast a record was made."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import reenact_zoo
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
    """Seconds by stage; waits for the accelerator, whose work would otherwise be booked on the next stage."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    laps: dict[str, list[float]] = field(default_factory=dict)
    begun: float = field(default_factory=time.perf_counter)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Book the time of the block on ``name``."""
        begun = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        lap = time.perf_counter() - begun
        self.laps.setdefault(name, []).append(lap)
        self.seconds[name] = self.seconds.get(name, 0.0) + lap

    def conditions(self, batch_sizes: list[int]) -> Conditions:
        """Everything measured so far; ``batch_sizes`` are the pictures made in each lap of stage "method"."""
        on_device = self.device.type == "cuda"
        return Conditions(
            versions=_versions(),
            commit=commit(),
            device=torch.cuda.get_device_name(self.device) if on_device else f"CPU ({_processor()})",
            threads=torch.get_num_threads(),
            started=self.started,
            seconds=round(time.perf_counter() - self.begun, 3),
            method_seconds=round(self.seconds.get("method", 0.0), 4),
            annotation_seconds=round(self.seconds.get("annotations", 0.0), 4),
            frames_per_s=_rate(batch_sizes, self.laps.get("method", [])),
            peak_memory_mb=round(_peak_memory_mb(), 1),
            peak_device_memory_mb=round(torch.cuda.max_memory_allocated(self.device) / 1e6, 1) if on_device else None,
        )


def _rate(sizes: list[int], laps: list[float]) -> float | None:
    if len(laps) > 1:  # the first batch compiles kernels and fills caches
        sizes, laps = sizes[1:], laps[1:]
    return round(sum(sizes) / sum(laps), 2) if sum(laps) > 0 else None


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

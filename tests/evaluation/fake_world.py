"""A tiny world with known answers: flat grey "persons", methods that add a constant, metrics with closed forms."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.methods.base import Phase, ReenactmentModule
from reenact_zoo.metrics.base import MetricCard, PairMetric
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

SIZE = 16


@dataclass
class GreysConfig:
    clips: int = 3
    frames: int = 5
    truth: bool = True
    broken_frame: int = -1
    annotation: float = 0.25


class Greys(ClipDataset):
    """Clip c, frame t is flat grey of level (40 c + 5 t) / 255; the true cross target is the mean of both."""

    Config = GreysConfig

    def __init__(self, config: GreysConfig | None = None) -> None:
        self.config = config or GreysConfig()

    @property
    def clips(self) -> list[Clip]:
        return [Clip(f"c{i}", f"person{i}", "", self.config.frames, Fraction(25)) for i in range(self.config.clips)]

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        if ref.index == self.config.broken_frame:
            raise InputError(f"frame {ref} is damaged")
        return np.full((SIZE, SIZE, 3), self.level(ref), np.uint8)

    @staticmethod
    def level(ref: FrameRef) -> int:
        return 40 * int(ref.clip[1:]) + 5 * ref.index

    def annotations(self, ref: FrameRef) -> dict[str, NDArray[Any]]:
        return {"landmarks": np.full((68, 2), self.config.annotation, np.float32)}

    def cross_target(
        self, source: FrameRef, driving: FrameRef, driving_reference: FrameRef | None = None
    ) -> dict[str, NDArray[Any]]:
        if not self.config.truth:
            return {}
        target = np.full((SIZE, SIZE, 3), (self.level(source) + self.level(driving)) // 2, np.uint8)
        return {"target": target, "target_matte": np.ones((SIZE, SIZE), np.float32)}


class _Baseline(ReenactmentModule[Any]):
    trainable = False

    def phases(self) -> list[Phase]:
        return []


class Halfway(_Baseline):
    """Exactly the true target (before its rounding to 8 bits)."""

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput((batch["source"] + batch["driving"]) / 2)


class Source(_Baseline):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"].clone())


class Peeking(_Baseline):
    """Returns the target when it can see it."""

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch.get("target", batch["source"]).clone())


class NaNOnBright(_Baseline):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        bright = batch["driving"].mean((1, 2, 3), keepdim=True) > 80 / 255
        return ReenactmentOutput(torch.where(bright, torch.nan, batch["source"]))


class NaNInTheLastPixel(_Baseline):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        made = batch["source"].clone()
        made[:, :, -1, -1] = torch.nan
        return ReenactmentOutput(made)


class RaisesOnBright(_Baseline):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        if batch["driving"].mean((1, 2, 3)).max() > 90 / 255:
            raise RuntimeError("too bright")
        return ReenactmentOutput(batch["source"].clone())


class AlwaysRaises(_Baseline):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        raise ZeroDivisionError("a bug")


class Interrupted(_Baseline):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        raise KeyboardInterrupt


class FromLandmarks(_Baseline):
    """Flat picture whose level is the mean landmark coordinate."""

    requires = frozenset({"source_landmarks"})

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        level = batch["source_landmarks"].mean((1, 2))
        return ReenactmentOutput(level[:, None, None, None].expand_as(batch["source"]).clone())


class Trained(_Baseline):
    trainable = True

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"])


class ToTarget(PairMetric):
    """Mean absolute difference to the true target."""

    card = MetricCard("to_target", 1, "L1", "", False, "reenacted with true target", reads_target=True)

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        truth = batch.get("target", batch["driving"])
        return (output.reenacted - truth).abs().mean((1, 2, 3))


class Level(PairMetric):
    """Mean of the picture; neither end is better."""

    card = MetricCard("level", 2, "Level", "", None, "reenacted alone")

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        return output.reenacted.mean((1, 2, 3))


class Corner(PairMetric):
    """Looks at one pixel only."""

    card = MetricCard("corner", 1, "Corner", "", None, "reenacted alone")

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        return output.reenacted[:, 0, 0, 0]


class Annotations(PairMetric):
    """How many annotations it is shown."""

    card = MetricCard("annotations", 1, "Annotations", "", None, "the batch")

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        seen = [key for key in batch if key.startswith(("source_", "driving_"))]
        return torch.full((len(output.reenacted),), float(len(seen)))


class Closeness(PairMetric):
    """Higher is better, self pairs only."""

    card = MetricCard("closeness", 1, "Close", "", True, "reenacted with driving", settings=frozenset({"self"}))

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        return 1 - (output.reenacted - batch["driving"]).abs().mean((1, 2, 3))


class Smile(PairMetric):
    """Asks for an instrument the fake measurer lacks."""

    card = MetricCard("smile", 1, "Smile", "", True, "reenacted with driving", quantities=("smile",))

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        raise AssertionError("never computed without its instrument")


class BothDetected(PairMetric):
    """1 where source and driving show a face."""

    card = MetricCard("both", 1, "Both", "", True, "source and driving", quantities=("detected",))

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        assert self.measurer is not None
        source, driving = (self.measurer.measure("detected", batch[role]) for role in ("source", "driving"))
        return source * driving


class FakeMeasurer:
    """Finds a face in pictures darker than 0.6, whose landmarks all equal the picture's level."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def missing(self, quantity: str) -> str | None:
        return None if quantity in ("detected", "landmarks") else f"{quantity}.weights (3 MB, MIT)"

    def weights(self, quantity: str) -> dict[str, str]:
        return {quantity: "0" * 64}

    def judges(self, quantity: str) -> tuple[str, ...]:
        return (f"{quantity}_judge",)

    def measure(self, quantity: str, images: Tensor) -> Tensor:
        self.asked.append(quantity)
        level = images.mean((1, 2, 3))
        if quantity == "detected":  # NaN is not below 0.6
            return (level < 0.6).float()
        assert quantity == "landmarks"
        points = level[:, None, None].expand(-1, 68, 2).clone()
        points[level >= 0.6] = torch.nan
        return points


class Judged(_Baseline):
    """Trained with what its configuration says; returns the source."""

    trainable = True

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"] * self.scale)

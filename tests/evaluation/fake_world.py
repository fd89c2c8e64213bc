"""A tiny world with known answers: flat grey "persons", methods that add a constant, metrics with closed forms."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.evaluation.protocol import Protocol, load_protocol
from reenact_zoo.methods.base import Phase, ReenactmentModule
from reenact_zoo.metrics.base import MetricCard, PairMetric, SetMetric, SetResult
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
        if ref.index == self.config.broken_frame or Path(os.environ.get("FAKE_WORLD_FLAKY", "/none")).is_file():
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


class RaisesForAWhile(_Baseline):
    """On sources of clip 1, as long as a file is there."""

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        levels = batch["source"].mean((1, 2, 3)) * 255
        if ((levels >= 40) & (levels < 80)).any() and Path(os.environ.get("FAKE_WORLD_RAISES", "/none")).is_file():
            raise RuntimeError("out of memory")
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


class Noisy(_Baseline):
    """A flat picture of random level for each pair."""

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        levels = torch.rand(len(batch["source"]), 1, 1, 1) / 2
        return ReenactmentOutput(levels.expand_as(batch["source"]).clone())


@dataclass
class ShiftedConfig:
    by: float = 0.0


class Shifted(_Baseline):
    """The source, brightened by what its configuration says."""

    Config = ShiftedConfig

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"] + self.config.by)


class Brightened(_Baseline):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"] + 0.2)


class Slow(_Baseline):
    """Takes its time, so that a kill falls into a batch."""

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        time.sleep(0.01)
        made = (batch["source"] + torch.rand_like(batch["source"])) / 2
        bright = batch["driving"].mean((1, 2, 3), keepdim=True) > 80 / 255
        return ReenactmentOutput(torch.where(bright, torch.nan, made))


class Counted(_Baseline):
    """Counts the pictures it makes."""

    made = 0

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        Counted.made += len(batch["source"])
        return ReenactmentOutput(batch["source"].clone())


class Remembered(_Baseline):
    """Counts, at each call, how many of the pictures that it was given or made before are still held by somebody."""

    alive: ClassVar[list[int]] = []

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.pictures: list[weakref.ref[Any]] = []

    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        Remembered.alive.append(sum(picture() is not None for picture in self.pictures))
        made = batch["source"].clone()
        self.pictures += [weakref.ref(picture.untyped_storage()) for picture in (made, batch["driving"])]
        return ReenactmentOutput(made)


class WithAux(_Baseline):
    def reenact(self, batch: PairBatch) -> ReenactmentOutput:
        return ReenactmentOutput(batch["source"].clone(), {"map": torch.full_like(batch["source"], 0.25)})


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

    computed = 0

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        Level.computed += len(output.reenacted)
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


class FaceLevel(PairMetric):
    """Distance of the levels at which two faces are seen; a lost one is penalised with 1."""

    card = MetricCard("face_level", 1, "Face", "", False, "a", quantities=("landmarks",), penalty=1.0)
    computed = 0

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        assert self.measurer is not None
        FaceLevel.computed += len(output.reenacted)
        made, shown = (self.measurer.measure("landmarks", x) for x in (output.reenacted, batch["driving"]))
        return (made - shown).abs().mean((1, 2))


class AuxLevel(PairMetric):
    """Mean of what the method gives beside its picture."""

    card = MetricCard("aux_level", 1, "Aux", "", None, "the map alone", reads_aux=("map",))

    def pair_values(self, batch: PairBatch, output: ReenactmentOutput) -> Tensor:
        if "map" not in output.aux:
            return torch.full((len(output.reenacted),), torch.nan)
        return output.aux["map"].mean((1, 2, 3))


class _OfSet(SetMetric):
    row_names = ("level",)

    def pair_rows(self, batch: PairBatch, output: ReenactmentOutput) -> dict[str, Tensor]:
        return {"level": output.reenacted.mean((1, 2, 3))}


class Spread(_OfSet):
    """Range of the pictures' levels."""

    card = MetricCard("spread", 1, "Spread", "", None, "all pictures")

    def set_value(self, rows: Mapping[str, Tensor]) -> SetResult:
        level = rows["level"][~rows["level"].isnan()]
        return SetResult(float(level.max() - level.min()), len(level), about={"lowest": float(level.min())})


class Rank(_OfSet):
    """How many pictures are darker."""

    card = MetricCard("rank", 1, "Rank", "", None, "each picture with all")

    def set_value(self, rows: Mapping[str, Tensor]) -> SetResult:
        darker = (rows["level"][None] < rows["level"][:, None]).sum(1).double()
        return SetResult(float(darker.mean()), len(darker), pair_values=darker)


class FakeMeasurer:
    """Finds a face in pictures darker than 0.6, whose landmarks all equal the picture's level."""

    def __init__(self, files: str = "0") -> None:
        self.asked: list[str] = []
        self.files = files

    def missing(self, quantity: str) -> str | None:
        return None if quantity in ("detected", "landmarks") else f"{quantity}.weights (3 MB, MIT)"

    def weights(self, quantity: str) -> dict[str, str]:
        return {quantity: (self.files if quantity == "landmarks" else "0") * 64}

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


Write = Callable[..., Protocol]


def protocol_writer(folder: Path) -> Write:
    """Function that writes a protocol below ``folder`` with some fields changed, and loads it."""

    def write(name: str = "greys_cross", **changes: Any) -> Protocol:
        fields: dict[str, Any] = {
            "name": name,
            "version": 1,
            "title": "Flat greys",
            "dataset": {"name": "fake_world:Greys", "config": {}},
            "setting": "cross",
            "pair_rule": {"frames": 4},
            "resolution": 16,
            "metrics": ["fake_world:ToTarget", "fake_world:Level", "fake_world:Closeness", "fake_world:Smile"],
        }
        for key, value in changes.items():
            if key.startswith("dataset_"):
                fields["dataset"]["config"][key.removeprefix("dataset_")] = value
            else:
                fields[key] = value
        path = folder / "protocols" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(fields))
        return load_protocol(str(path))

    return write

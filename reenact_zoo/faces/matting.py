"""The foreground: a matte read off a parsing, or RobustVideoMatting's from a file of the user's."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.instrument import MapInstrument
from reenact_zoo.faces.parsing import CLASSES
from reenact_zoo.weights.store import WeightStore

BACKGROUND = CLASSES.index("background")


def matte_from_parsing(parsing: Tensor) -> Tensor:
    """Class probabilities (B, 19, H, W) → (B, 1, H, W): the share of everything that is not background."""
    if parsing.shape[1] != len(CLASSES):
        raise ValueError(f"parsing needs {len(CLASSES)} channels, got {parsing.shape[1]}")
    return 1 - parsing[:, BACKGROUND : BACKGROUND + 1]


class ParsingMatte:
    """Matte of the person as a parsing network sees it: no finer than its classes, so hair ends in a soft step.

    Args:
        store: where the weights lie.
        device: where the network runs.
        parsing: "bisenet" (bisenet_celebamask_hq) or "synthetic" (trained with this package).

    Raises:
        WeightsMissing: the parsing's weights are not at hand.
    """

    channels = 1

    def __init__(
        self,
        store: WeightStore | None = None,
        device: str | torch.device = "cpu",
        parsing: Literal["bisenet", "synthetic"] = "bisenet",
    ) -> None:
        self._parsing = _parsing(parsing, store, device)
        self.name, self.weights = f"matte_{parsing}", self._parsing.weights

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], (B, 68, 2) px → (B, 1, H, W) in [0, 1]; differentiable in the images."""
        return matte_from_parsing(self._parsing(images, landmarks_px))


def _parsing(name: str, store: WeightStore | None, device: str | torch.device) -> MapInstrument:
    if name == "bisenet":
        from reenact_zoo.faces.bisenet import BiSeNetParsing

        return BiSeNetParsing(store, device)
    from reenact_zoo.faces.parsing import SyntheticParsing

    return SyntheticParsing(store, device)


class RobustVideoMatting:
    """RobustVideoMatting (Lin et al., WACV 2022, arXiv:2108.11515) from the authors' ONNX file, frame after frame.

    The file is GPL-3.0 and comes from the user; nothing of it is in this package. ONNX files hold no code. The network
    is recurrent: frames of one clip go in their order, ``reset`` begins another clip.

    Args:
        store: where rvm_mobilenetv3_onnx lies.
        downsample: share of the resolution at which the network works; the authors' advice: the longer side about 512.

    Raises:
        WeightsMissing: the file is not at hand.
        LicenceRefused: research-only and copyleft weights are not admitted.
    """

    name, weights = "matte_rvm", ("rvm_mobilenetv3_onnx",)

    def __init__(self, store: WeightStore | None = None, downsample: float = 1.0) -> None:
        import onnxruntime

        path = (store or WeightStore()).path(self.weights[0])
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._downsample = np.array([downsample], np.float32)
        self._state: dict[str, Any] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the clip."""
        self._state = {f"r{i}i": np.zeros((1, 1, 1, 1), np.float32) for i in range(1, 5)}

    def matte(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Next frame (H, W, 3) RGB → (H, W) in [0, 1]."""
        source = np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32) / 255
        names = ["pha", "r1o", "r2o", "r3o", "r4o"]
        inputs = {"src": source, "downsample_ratio": self._downsample, **self._state}
        matte, *state = self._session.run(names, inputs)
        self._state = {f"r{i}i": value for i, value in enumerate(state, start=1)}
        return np.asarray(matte[0, 0])

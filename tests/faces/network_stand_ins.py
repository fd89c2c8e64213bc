"""For tests of instruments whose weights nobody has at hand: pseudo-weights, and landmarks with a known crop."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from reenact_zoo.faces.align import ARCFACE_TEMPLATE
from reenact_zoo.weights.store import WeightStore


class PseudoStore(WeightStore):
    """Fills every network with small seeded numbers; remembers which entries were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def load_into(self, module: nn.Module, name: str, part: str = "") -> None:
        self.asked.append(name)
        state = {}
        for key, value in module.state_dict().items():
            generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
            noise = torch.randn(value.shape, generator=generator)
            if not value.is_floating_point():
                state[key] = value
            elif value.ndim < 2:
                one = key.endswith(("weight", "running_var"))
                state[key] = 1 + 0.1 * noise.abs() if one else 0.02 * noise
            else:
                state[key] = noise / value[0].numel() ** 0.5
        module.load_state_dict(state)


class OneFile(WeightStore):
    """Answers every question for a path with one file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._one = path

    def path(self, name: str) -> Path:
        return self._one


def face_points(x: float = 64.0, y: float = 64.0, size: float = 60.0) -> NDArray[np.float32]:
    """(68, 2) points of a frontal face, roughly; ``size``: height of their box, (x, y) its middle."""
    points = np.zeros((68, 2))
    jaw = np.linspace(0, np.pi, 17)
    points[:17] = np.stack([-0.5 * np.cos(jaw), -0.15 + 0.65 * np.sin(jaw)], 1)
    points[17:22] = np.stack([np.linspace(-0.42, -0.1, 5), [-0.42, -0.48, -0.5, -0.48, -0.45]], 1)
    points[22:27] = points[17:22][::-1] * [-1, 1]
    points[27:31] = np.stack([np.zeros(4), np.linspace(-0.3, 0.0, 4)], 1)
    points[31:36] = np.stack([np.linspace(-0.1, 0.1, 5), [0.06, 0.08, 0.09, 0.08, 0.06]], 1)
    angle = np.arange(6) * np.pi / 3
    eye = np.stack([-0.09 * np.cos(angle), -0.04 * np.sin(angle)], 1)
    points[36:42], points[42:48] = eye + np.array([-0.22, -0.3]), eye + np.array([0.22, -0.3])
    angle = np.arange(12) * np.pi / 6
    points[48:60] = np.stack([-0.2 * np.cos(angle), 0.25 - 0.08 * np.sin(angle)], 1)
    angle = np.arange(8) * np.pi / 4
    points[60:] = np.stack([-0.15 * np.cos(angle), 0.25 - 0.03 * np.sin(angle)], 1)
    return (points * size + [x, y]).astype(np.float32)


def template_points() -> NDArray[np.float32]:
    """(68, 2) points whose ArcFace crop is exactly a 112 x 112 image."""
    points = np.tile(ARCFACE_TEMPLATE.mean(0), (68, 1))
    points[36:42], points[42:48] = ARCFACE_TEMPLATE[0], ARCFACE_TEMPLATE[1]
    points[[30, 48, 54]] = ARCFACE_TEMPLATE[2:]
    return points.astype(np.float32)


def box_points(left: float, top: float, right: float, bottom: float) -> NDArray[np.float32]:
    """(68, 2) points with these bounds."""
    points = np.tile([(left + right) / 2, (top + bottom) / 2], (68, 1))
    points[0], points[1] = (left, top), (right, bottom)
    return points.astype(np.float32)


# --- ONNX without the onnx package: just enough of its protocol buffers ---------------------------------------------


def _varint(value: int) -> bytes:
    out = b""
    while True:
        value, low = value >> 7, value & 127
        out += bytes([low | 128 if value else low])
        if not value:
            return out


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _value(name: str, dimensions: tuple[int | str, ...]) -> bytes:
    shape = b"".join(_field(1, _field(1, d) if isinstance(d, int) else _field(2, d)) for d in dimensions)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, shape)))


def _node(kind: str, inputs: list[str], outputs: list[str], **integers: int | list[int]) -> bytes:
    data = b"".join(_field(1, i) for i in inputs) + b"".join(_field(2, o) for o in outputs) + _field(4, kind)
    for name, value in integers.items():
        listed = isinstance(value, list)
        body = b"".join(_field(8, v) for v in value) if listed else _field(3, value)  # type: ignore[union-attr, arg-type]
        data += _field(5, _field(1, name) + body + _field(20, 7 if listed else 2))
    return data


def onnx_model(
    nodes: list[bytes],
    inputs: dict[str, tuple[int | str, ...]],
    outputs: dict[str, tuple[int | str, ...]],
    **metadata: str,
) -> bytes:
    """Bytes of an ONNX file of float tensors (opset 13)."""
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "test")
    graph += b"".join(_field(11, _value(*item)) for item in inputs.items())
    graph += b"".join(_field(12, _value(*item)) for item in outputs.items())
    model = _field(1, 8) + _field(8, _field(1, "") + _field(2, 13)) + _field(7, graph)
    return model + b"".join(_field(14, _field(1, k) + _field(2, v)) for k, v in metadata.items())


node = _node

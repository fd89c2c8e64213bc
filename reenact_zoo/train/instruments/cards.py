"""Files of the bundled networks: float16 safetensors, and beside each a card with its command and its figures."""

from __future__ import annotations

import json
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from reenact_zoo.train.instruments.task import Task

NOT = (
    "trained on renders of synthetic people alone: its figures are not those of CosFace, ArcFace, Hopenet, 3DDFA, "
    "BiSeNet, DECA or VGG, and say little about real faces unless a measurement on real faces is quoted beside them"
)


def export(network: nn.Module, path: Path) -> nn.Module:
    """Write the network in float16 and load it back, so that what is judged is what is shipped."""
    state = {name: _half(value) for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        save_file(state, temporary, metadata={"format": "pt"})
        stored = load_file(temporary)
        network.load_state_dict(stored)
        temporary.chmod(0o644)  # safetensors writes files that only their owner reads
        temporary.replace(path)
    return network.eval()


def _half(value: torch.Tensor) -> torch.Tensor:
    if not value.is_floating_point():
        return value.detach().clone()
    half = value.detach().to(torch.float16).contiguous()
    if not bool(half.isfinite().all()):
        raise ValueError("a weight does not fit into float16")
    return half


def bfloat16_agreement(network: nn.Module, crops: torch.Tensor) -> float:
    """Mean absolute difference of outputs under bfloat16 autocast from float32, over their mean size."""
    with torch.inference_mode():
        exact = _flat(network(crops))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            coarse = _flat(network(crops))
    return round(float((exact - coarse).abs().mean() / exact.abs().mean().clamp(min=1e-9)), 5)


def _flat(output: Any) -> torch.Tensor:
    parts = [output] if isinstance(output, torch.Tensor) else list(output)
    return torch.cat([part.float().flatten() for part in parts])


def write_card(path: Path, task: Task, facts: dict[str, Any]) -> dict[str, Any]:
    """``path``: of the weights; the card lies beside it under .json. Returns the card."""
    card = {
        "name": task.name,
        "architecture": task.architecture,
        "preprocessing": task.preprocessing,
        "answers": task.meaning,
        "not": NOT,
        "parameters": sum(p.numel() for p in task.network.parameters()),
        **facts,
        "bytes": path.stat().st_size,
        "sha256": sha256(path.read_bytes()).hexdigest(),
    }
    write_json(path.with_suffix(".json"), card)
    return card


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)

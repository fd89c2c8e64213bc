"""Cosine of embeddings, shared by the identity cards."""

from __future__ import annotations

from torch import Tensor


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Embeddings (B, D) → cosines (B,); NaN where either row is NaN."""
    value: Tensor = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp(min=1e-12)
    return value

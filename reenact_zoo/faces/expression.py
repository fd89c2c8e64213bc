"""What the face does: expression codes."""

from __future__ import annotations

from torch import Tensor

from reenact_zoo.faces.tddfa import EXPRESSION


def expression_from_tddfa(whitened: Tensor) -> Tensor:
    """(B, 62) network output → (B, 10) expression, whitened: each number in standard deviations of 300W-LP.

    methods.md reads DCG-GAN's ExpMSE1 as this form, since two unrelated faces then differ by about 2.
    """
    return whitened[:, EXPRESSION]

"""Optional smoothing of LD-Net's codes over the frames of a clip; the paper names trembling as a weakness.

s_t = a s_{t-1} + (1 - a) c_t, causal. Off (a = 0) by default: it also lags behind fast motion.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.methods.ldnet_fdgan.ld_net import Codes
from reenact_zoo.types import InputError


class CodeSmoother:
    """Smooths the pose-and-expression code and the framing of one clip; frames come in order, many or one at a time.

    Args:
        strength: a in [0, 1); 0 changes nothing.

    Raises:
        InputError: another strength.
    """

    def __init__(self, strength: float = 0.0) -> None:
        if not 0 <= strength < 1:
            raise InputError(f"smoothing is {strength}; it must be at least 0 (off) and below 1")
        self.strength = strength
        self._state: Tensor | None = None

    def reset(self) -> None:
        """A new clip begins."""
        self._state = None

    def __call__(self, codes: Codes) -> Codes:
        """Codes of the next frames (T rows); a row of NaN, a frame without a face, stays so and is not remembered."""
        if self.strength == 0:
            return codes
        split = codes.pose_expression.shape[1]
        rows = torch.cat([codes.pose_expression, codes.framing], dim=1)
        smooth = torch.stack([self._next(row) for row in rows]) if len(rows) else rows
        return Codes(smooth[:, :split], codes.identity, smooth[:, split:])

    def _next(self, row: Tensor) -> Tensor:
        if not row.isfinite().all():
            return row
        self._state = row if self._state is None else torch.lerp(row, self._state, self.strength)
        return self._state

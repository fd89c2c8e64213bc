"""Foreground, untouched background and inpainting put together: background that is known stays bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MARGIN = 0.05
"""A rendered matte below it is 0 and above 1 - MARGIN is 1: a sigmoid never is, and a little of a drawn foreground
over the background is an unwanted motion."""

UNSEEN = 1 / 255
"""A matte below one step of 8 bits draws nothing."""


def pool_size(image_size: int, at_256: int = 7) -> int:
    """Side of the dilation's window: ``at_256`` pixels of 256 scaled, the next odd number, at least 3 (3 at 64)."""
    scaled = -(-at_256 * image_size // 256)
    return max(3, scaled + 1 - scaled % 2)


def known_background(matte: Tensor, pool: int, below: float) -> Tensor:
    """K (B, 1, H, W) bool: pixels that the source shows free of foreground, with a margin.

    Args:
        matte: (B, 1, H, W) of the source, in [0, 1].
        pool: odd side of the window in which the matte must stay ``below``.
        below: the matte's bound; estimated mattes have soft rims.
    """
    return F.max_pool2d(matte.float(), pool, stride=1, padding=pool // 2) < below


def matte_from_logit(logit: Tensor) -> Tensor:
    """Of logits l, a = clamp((σ(l) - .05) / .9, 0, 1), of which exactly 0 and exactly 1 are values.

    There is no gradient there, so that losses need the logit as well.
    """
    return ((torch.sigmoid(logit.float()) - MARGIN) / (1 - 2 * MARGIN)).clamp(0, 1)


def blank_area(known: Tensor, matte: Tensor) -> Tensor:
    """B = (1 - K)(1 - a) of K (B, 1, H, W) bool and a (B, 1, H, W): how much of a pixel has to be inpainted."""
    return (~known).to(matte.dtype) * (1 - matte)


def canvas(image: Tensor, rgb: Tensor, known: Tensor, matte: Tensor) -> Tensor:
    """What is there before inpainting: a y_fg + (1 - a) K x_s, (B, 3, H, W), black where blank.

    Args:
        image: x_s (B, 3, H, W), the source.
        rgb: y_fg (B, 3, H, W), the rendered foreground.
        known: K (B, 1, H, W) bool.
        matte: a (B, 1, H, W).
    """
    return matte * rgb + (1 - matte) * known.to(matte.dtype) * image


def untouched(known: Tensor, matte: Tensor) -> Tensor:
    """K' (B, 1, H, W) bool: known background over which nothing of the foreground is drawn."""
    return known & (matte < UNSEEN)


def compose(image: Tensor, rgb: Tensor, matte: Tensor, known: Tensor, inpainted: Tensor) -> Tensor:
    """The picture y: x_s where K and a < 1/255, else a y_fg + (1 - a)(K x_s + (1 - K) y_in).

    A choice, not a blend: a matte of 1e-4 changes bits, and what the networks draw where nothing is to be seen, be it
    infinite, does not reach the background.

    Args:
        image: x_s (B, 3, H, W), the source.
        rgb: y_fg (B, 3, H, W), the rendered foreground.
        matte: a (B, 1, H, W).
        known: K (B, 1, H, W) bool.
        inpainted: y_in (B, 3, H, W).
    """
    blend = canvas(image, rgb, known, matte) + blank_area(known, matte) * inpainted
    return torch.where(untouched(known, matte), image.to(blend.dtype), blend)

"""From the driver's landmarks to those that are painted along: checked, personalised, smoothed, or made less exact."""

from __future__ import annotations

import torch
from torch import Tensor

from reenact_zoo.methods._sampling import TOGETHER, as_detected
from reenact_zoo.methods.ldnet_fdgan.landmark_shape import check_landmarks, framing_of, usable
from reenact_zoo.methods.ldnet_fdgan.ld_net import Codes, LDNet
from reenact_zoo.methods.ldnet_fdgan.temporal import CodeSmoother
from reenact_zoo.types import InputError


def check_rows(landmarks: Tensor, key: str, count: int) -> None:
    """Refuse what is not ``count`` rows of 68 points, or of NaN throughout where no face was found.

    Raises:
        InputError: names ``key`` and what is wrong.
    """
    check_landmarks(landmarks, key, missing=True)
    if len(landmarks) != count:
        raise InputError(f"'{key}' has {len(landmarks)} rows for {count} images; give each image its 68 landmarks")
    finite = landmarks.isfinite().flatten(1)
    torn = finite.any(1) & ~finite.all(1)
    if bool(torn.any()):
        row = int(torn.nonzero()[0])
        lacking = int((~landmarks[row].isfinite()).any(-1).sum())
        raise InputError(
            f"'{key}' lacks {lacking} of 68 points (NaN) in row {row}; ldnet_fdgan needs all of them, and a picture "
            "without a face as a row of NaN throughout"
        )


def driven_landmarks(net: LDNet, source: Tensor, driving: Tensor) -> Tensor:
    """The driver's pose and expression with the source's face: (B, 68, 2); NaN where either face is missing."""
    with torch.autocast(driving.device.type, enabled=False):  # bfloat16 would move points by a quarter of a pixel
        return net.personalise(source, driving)


def smoothed_landmarks(net: LDNet, smoother: CodeSmoother, source: Tensor, driving: Tensor) -> Tensor:
    """``driven_landmarks`` of consecutive frames (T, 68, 2) of a clip, their codes smoothed."""
    driven = torch.full_like(driving, torch.nan)
    found = usable(source) & usable(driving)
    if not bool(found.any()):
        return driven
    aim, own = driving[found], source[found]
    with torch.autocast(driving.device.type, enabled=False):
        framing = framing_of(aim)
        pose_expression, _ = net.pose_expression_encoder(net.normalised(aim, framing))
        identity = net.identity_encoder(net.normalised(own, framing_of(own)))
        codes = smoother(Codes(pose_expression, identity, framing))
        driven[found] = net.generate(codes.pose_expression, codes.identity, codes.framing)
    return driven


def estimated(landmarks: Tensor, noise: float) -> Tensor:
    """Landmarks (B, 68, 2) as a detector would find them: each moved on its own, and all of them by one similarity.

    Args:
        landmarks: normalised.
        noise: standard deviation of each coordinate in distances between the eyes; 0 gives the same points.
    """
    if noise == 0:
        return landmarks
    centre = landmarks.mean(1, keepdim=True)
    x, y = (landmarks - centre).unbind(-1)
    angle, growth = (TOGETHER * noise * torch.randn(2, len(landmarks), 1, device=landmarks.device)).unbind(0)
    # written out: autocast would do a matrix product in bfloat16
    turned = torch.stack(((1 + growth) * x - angle * y, angle * x + (1 + growth) * y), -1)
    return as_detected(turned + centre, noise)

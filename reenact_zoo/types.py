"""What crosses the borders between the parts: batches, outputs, and the one error a user can mend.

Axis letters, used in every docstring: B batch, C channels, H height, W width, N landmarks, K coefficients, T frames.
Images are RGB in [0, 1] (uint8 arrays (H, W, 3) only between a file and the first tensor). Coordinates are normalised
to [-1, 1], x before y, with ``align_corners=False``: x = (2 * x_px + 1) / W - 1, x_px at pixel centres 0 … W-1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Required, TypedDict

from torch import Tensor


class InputError(ValueError):
    """A mistake the user can mend: one line that says what is wrong and what to do, shown without a traceback."""


class PairBatch(TypedDict, total=False):
    """One batch of pairs; a plain dict, because Lightning's collate and device transfer know dicts.

    Every annotation exists in a ``source_``, a ``driving_`` and, where it makes sense, a ``driving_reference_`` form
    and is present only when the method's ``requires`` names it. A row of NaN says that the instrument found no face.
    """

    source: Required[Tensor]  # (B, 3, H, W) supplies identity
    driving: Required[Tensor]  # (B, 3, H, W) supplies pose (position included) and expression
    same_identity: Required[Tensor]  # (B,) bool; True: driving is also the ground truth
    pair_id: list[str]
    source_identity: Tensor  # (B,) int64 label, training only
    driving_identity: Tensor  # (B,) int64 label, training only
    extra_sources: Tensor  # (B, k, 3, H, W) more images of the source person, for few-shot forms
    driving_reference: Tensor  # (B, 3, H, W) first driving frame, for relative motion

    source_landmarks: Tensor  # (B, 68, 2)
    extra_sources_landmarks: Tensor  # (B, k, 68, 2)
    driving_landmarks: Tensor  # (B, 68, 2)
    driving_reference_landmarks: Tensor  # (B, 68, 2)
    source_coefficients: Tensor  # (B, K) shape, texture, expression, pose, camera, light
    driving_coefficients: Tensor  # (B, K)
    driving_reference_coefficients: Tensor  # (B, K)
    driving_coefficients_window: Tensor  # (B, T, K)
    source_parsing: Tensor  # (B, 19, H, W) class probabilities in BiSeNet's order
    driving_parsing: Tensor  # (B, 19, H, W)
    source_matte: Tensor  # (B, 1, H, W) in [0, 1]
    driving_matte: Tensor  # (B, 1, H, W) in [0, 1]

    # Evaluation only, added by the evaluation datamodule, never in a training batch:
    target: Tensor  # (B, 3, H, W) true reenacted image although identities differ (synthetic)
    target_landmarks: Tensor  # (B, 68, 2)
    target_coefficients: Tensor  # (B, K)
    target_matte: Tensor  # (B, 1, H, W)
    target_flow: Tensor  # (B, H, W, 2) backward flow: where in the source each target pixel comes from
    target_flow_valid: Tensor  # (B, 1, H, W) in {0, 1}
    target_source_matte: Tensor  # (B, 1, H, W) true source matte; with target_matte it bounds the head region
    target_parsing: Tensor  # (B, 19, H, W) share of every class in the pixel, BiSeNet's order

    # Evaluation only, labels of the pair and no pixels: metrics see them, methods do not.
    sequence: Tensor  # (B,) int64, shared by the pairs of one source frame and one driving clip
    sequence_frame: Tensor  # (B,) int64 index of the driving frame in its clip
    persons: Tensor  # (B, 2) int64 numbers of the source and the driving person, the same in every run on a dataset


TARGET_KEYS = frozenset(
    {
        "target",
        "target_landmarks",
        "target_coefficients",
        "target_matte",
        "target_flow",
        "target_flow_valid",
        "target_source_matte",
        "target_parsing",
    }
)
"""Keys no method may ever see: the runner removes them before it calls ``reenact``."""

LABEL_KEYS = frozenset({"sequence", "sequence_frame", "persons"})
"""Keys that say which pairs belong together; removed like ``TARGET_KEYS`` before a method sees a batch."""


@dataclass
class ReenactmentOutput:
    """What a method returns.

    Attributes:
        reenacted: (B, 3, H, W) RGB in [0, 1]. A row of NaN says that this sample could not be made (say, no face was
            found in the driving frame); the runner records it as failed and goes on.
        aux: flow, occlusion, proxies, fused mask …: for losses and pictures.
    """

    reenacted: Tensor
    aux: dict[str, Tensor] = field(default_factory=dict)

"""Head pose in degrees (yaw, pitch, roll), R = Ry(yaw) Rx(-pitch) Rz(roll).

Positive yaw: the nose points to image right. Positive pitch: it goes up. Positive roll: the top of the head tilts to
image left. Space: x right, y up, z towards the camera.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.faces.landmarks import landmark_box
from reenact_zoo.faces.tddfa import POSE
from reenact_zoo.ops.rotation import euler_from_matrix
from reenact_zoo.weights.store import WeightStore

# The iBUG points of ICT-FaceKit's neutral head (MIT licence), rounded to 0.1 mm, in cm: x right, y up, z towards the
# camera. Only points that move little with expression: upper jaw line, nose, corners of eyes and mouth.
GENERIC_FACE: dict[int, tuple[float, float, float]] = {
    0: (-7.36, 3.68, 3.66),
    1: (-7.28, 1.49, 3.93),
    2: (-6.94, -0.46, 4.53),
    14: (6.94, -0.46, 4.53),
    15: (7.28, 1.49, 3.93),
    16: (7.36, 3.68, 3.66),
    27: (0.00, 3.74, 10.73),
    28: (0.00, 2.63, 11.52),
    29: (0.00, 1.61, 12.31),
    30: (0.00, 0.41, 13.07),
    31: (-1.25, -1.14, 10.87),
    32: (-0.60, -1.14, 11.42),
    33: (0.00, -1.20, 11.57),
    34: (0.60, -1.14, 11.42),
    35: (1.25, -1.14, 10.87),
    36: (-4.46, 3.43, 8.60),
    39: (-1.84, 3.25, 9.20),
    42: (1.84, 3.25, 9.20),
    45: (4.46, 3.43, 8.60),
    48: (-2.53, -3.52, 10.19),
    54: (2.53, -3.52, 10.19),
}
CAMERA_DISTANCE = 6.0  # in face sizes: a portrait; the true focal length of a crop is unknown


JAW_LINE = range(17)  # iBUG; in a turned head these points slide to the visible outline


def pose_from_landmarks(landmarks_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """(68, 2) px → (3,) degrees, by perspective-n-point on a generic face; NaN where the points admit no solution.

    Yaw comes from a fit without the jaw line, whose sliding would enlarge it by a quarter; pitch and roll from a fit
    with it, because nose and mouth alone confuse the shape of a nose with pitch. Measured: 24 renders of known pose
    (mean errors 1.3, 2.5, 1.5 degrees), and against 3DDFA_V2 on 144 real frames (spread 3.1, 2.8, 0.9 degrees).
    The camera looks at the middle of the face from ``CAMERA_DISTANCE`` face sizes, so the result depends neither on
    where the face lies in the image nor on the image's size.
    """
    left, top, right, bottom = landmark_box(landmarks_px)
    size = max(right - left, bottom - top)
    if not np.isfinite(size) or size <= 0:
        return np.full(3, np.nan, np.float32)
    points = (landmarks_px.astype(np.float64) - [(left + right) / 2, (top + bottom) / 2]) / size
    yaw = _fitted(points, [i for i in GENERIC_FACE if i not in JAW_LINE])[0]
    _, pitch, roll = _fitted(points, list(GENERIC_FACE))
    return np.array([yaw, pitch, roll], np.float32)


def _fitted(points: NDArray[np.float64], index: list[int]) -> NDArray[np.float64]:
    """Normalised points (68, 2), y down, and the ones to use → (3,) degrees, NaN without a solution."""
    import cv2

    model = np.array([GENERIC_FACE[i] for i in index])
    model = (model - model.mean(0)) * [1, -1, -1]  # OpenCV: y down, z away from the camera
    camera = np.diag([CAMERA_DISTANCE, CAMERA_DISTANCE, 1.0])
    found, turn, shift = cv2.solvePnP(model, points[index], camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not found:
        return np.full(3, np.nan)
    turn, shift = cv2.solvePnPRefineLM(model, points[index], camera, None, turn, shift)
    flip = np.diag([1.0, -1.0, -1.0])
    rotation = flip @ cv2.Rodrigues(turn)[0] @ flip
    return euler_from_matrix(torch.from_numpy(rotation)).numpy()


def pose_from_tddfa(parameters: Tensor) -> Tensor:
    """(B, 62) parameters of 3DDFA_V2 in model units → (B, 3) degrees.

    The first twelve are a row-major 3x4 matrix [scale * R | t] in the convention above (its image y goes up). R is the
    nearest rotation to its first two rows and their cross product.
    """
    matrix = parameters[:, POSE].reshape(-1, 3, 4)[:, :, :3].double()
    first, second = (torch.nn.functional.normalize(matrix[:, row], dim=-1) for row in (0, 1))
    u, _, v = torch.linalg.svd(torch.stack([first, second, torch.linalg.cross(first, second)], 1))
    return euler_from_matrix(u @ v).float()


class PnpPose:
    """``pose_from_landmarks`` as an instrument: it reads the points alone, and needs no weights of its own."""

    name = "pnp"
    weights: tuple[str, ...] = ()
    size = 3

    def __init__(self, store: WeightStore | None = None, device: str | torch.device = "cpu") -> None:
        pass

    def __call__(self, images: Tensor, landmarks_px: Tensor) -> Tensor:
        """(B, 3, H, W), (B, 68, 2) px → (B, 3) degrees; a constant to gradients."""
        rows = [pose_from_landmarks(points) for points in landmarks_px.detach().cpu().numpy()]
        return torch.from_numpy(np.array(rows, np.float32).reshape(-1, 3)).to(images.device)

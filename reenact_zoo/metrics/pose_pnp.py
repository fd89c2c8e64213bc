"""Head-pose error against the driving frame, measured by perspective-n-point from 68 landmarks."""

from reenact_zoo.metrics._pose import _PoseError, pose_card


class PosePnP(_PoseError):
    """Mean absolute difference of yaw, pitch and roll."""

    card = pose_card("pose_pnp", "PnP", "perspective-n-point of 68 landmarks on a generic face")

"""Head-pose error against the driving frame, measured by 3DDFA_V2."""

from reenact_zoo.metrics._pose import _PoseError, pose_card


class Pose3DDFAV2(_PoseError):
    """Mean absolute difference of yaw, pitch and roll."""

    card = pose_card("pose_3ddfa_v2", "3DDFA V2", "rotation of the 3DDFA_V2 mb05 pose matrix (Guo et al., ECCV 2020)")

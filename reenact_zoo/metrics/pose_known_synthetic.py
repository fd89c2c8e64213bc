"""Head-pose error against the rotation that the true target was rendered with: difference of angles."""

from reenact_zoo.metrics._known import _KnownAngles, known_pose_card
from reenact_zoo.metrics._synthetic import EULER


class PoseKnownSynthetic(_KnownAngles):
    """Mean absolute difference of yaw, pitch and roll."""

    card = known_pose_card("pose_known_synthetic", "pose to known rotation (synthetic)", EULER)

"""Head-pose error against the rotation that the true target was rendered with: one angle."""

from reenact_zoo.metrics._known import _KnownAngles, known_pose_card
from reenact_zoo.metrics._synthetic import GEODESIC


class PoseGeodesicKnownSynthetic(_KnownAngles):
    """Geodesic angle."""

    card = known_pose_card("pose_geodesic_known_synthetic", "pose geodesic to known rotation (synthetic)", GEODESIC)
    geodesic = True

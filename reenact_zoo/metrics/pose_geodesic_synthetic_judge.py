"""Angle of the rotation between the heads of reenacted and driving, by the judge trained on synthetic people."""

from reenact_zoo.metrics._synthetic import GEODESIC, _JudgedGeodesic, pose_judge_card


class PoseGeodesicSyntheticJudge(_JudgedGeodesic):
    """Geodesic angle."""

    card = pose_judge_card("pose_geodesic_synthetic_judge", GEODESIC, with_truth=False)

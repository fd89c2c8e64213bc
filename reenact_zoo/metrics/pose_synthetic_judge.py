"""Head-pose error against the driving frame, measured by the judge that was trained on synthetic people."""

from reenact_zoo.metrics._synthetic import EULER, _JudgedPose, pose_judge_card


class PoseSyntheticJudge(_JudgedPose):
    """Mean absolute difference of yaw, pitch and roll."""

    card = pose_judge_card("pose_synthetic_judge", EULER, with_truth=False)

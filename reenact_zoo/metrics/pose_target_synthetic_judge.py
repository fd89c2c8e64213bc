"""Head-pose error against the true target, by the judge trained on synthetic people: right for relative motion too."""

from reenact_zoo.metrics._synthetic import EULER, _JudgedPose, pose_judge_card


class PoseTargetSyntheticJudge(_JudgedPose):
    """Mean absolute difference of yaw, pitch and roll."""

    card = pose_judge_card("pose_target_synthetic_judge", EULER, with_truth=True)
    with_truth = True

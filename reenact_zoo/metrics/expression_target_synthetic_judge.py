"""Expression error against the true target, by the judge trained on synthetic people: right for relative motion too."""

from reenact_zoo.metrics._synthetic import _JudgedExpression, expression_judge_card


class ExpressionTargetSyntheticJudge(_JudgedExpression):
    """Distance of expression codes, in % of face width."""

    card = expression_judge_card("expression_target_synthetic_judge", with_truth=True)
    with_truth = True

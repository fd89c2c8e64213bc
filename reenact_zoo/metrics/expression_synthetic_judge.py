"""Expression error against the driving frame, measured by the judge that was trained on synthetic people."""

from reenact_zoo.metrics._synthetic import _JudgedExpression, expression_judge_card


class ExpressionSyntheticJudge(_JudgedExpression):
    """Distance of expression codes, in % of face width."""

    card = expression_judge_card("expression_synthetic_judge", with_truth=False)

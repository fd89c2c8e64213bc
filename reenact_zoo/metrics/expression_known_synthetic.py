"""Expression error against the coefficients that the true target was rendered with."""

from reenact_zoo.metrics._known import JUDGE_CROP, _KnownExpression
from reenact_zoo.metrics._synthetic import EXPRESSION, JUDGE
from reenact_zoo.metrics.base import MetricCard


class ExpressionKnownSynthetic(_KnownExpression):
    """Distance of expression codes, in % of face width."""

    card = MetricCard(
        name="expression_known_synthetic",
        version=1,
        title="expression to known coefficients (synthetic)",
        unit="% of face width",
        higher_is_better=False,
        compares="expression measured in reenacted with the true target's known coefficients: root mean square "
        "displacement of the face's vertices between the two, in the 20 leading dimensions",
        reads_target=True,
        quantities=(EXPRESSION,),
        face_missing="no value where none is found in reenacted, or the data were rendered with another head than ict; "
        "faces lost in reenacted are counted by mkr",
        reference=f"read by a {JUDGE}; its own error is part of the value (0.96 on 48 true targets of 64 px, where the "
        "mean expression misses by 1.28): the form that measures both sides has expression_target in its name",
        alignment=JUDGE_CROP,
        digits=2,
    )

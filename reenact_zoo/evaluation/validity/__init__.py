"""Do the metrics see what is wrong? Outputs with a known error, and what each metric says of them."""

from reenact_zoo.evaluation.validity.degradations import PICTURE_LADDERS, AlteredPeople, Case, Ladder
from reenact_zoo.evaluation.validity.measure import MetricValidity, Validity, judge, ladder_correlations, validate
from reenact_zoo.evaluation.validity.page import as_csv, draw, sheet, write_page

__all__ = [
    "PICTURE_LADDERS",
    "AlteredPeople",
    "Case",
    "Ladder",
    "MetricValidity",
    "Validity",
    "as_csv",
    "draw",
    "judge",
    "ladder_correlations",
    "sheet",
    "validate",
    "write_page",
]

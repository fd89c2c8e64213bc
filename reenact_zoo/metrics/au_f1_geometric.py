"""F1 of action units, the driving face's as the truth, by landmarks alone."""

from reenact_zoo.metrics._action_units import _F1, GEOMETRIC, action_unit_card


class AUF1Geometric(_F1):
    """See the card."""

    card = action_unit_card("au_f1", GEOMETRIC)

"""Agreement of action units beyond chance (Cohen's kappa), by landmarks alone."""

from reenact_zoo.metrics._action_units import GEOMETRIC, _Kappa, action_unit_card


class AUKappaGeometric(_Kappa):
    """See the card."""

    card = action_unit_card("au_kappa", GEOMETRIC)

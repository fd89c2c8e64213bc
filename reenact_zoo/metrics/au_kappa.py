"""Agreement of action units beyond chance (Cohen's kappa), by a network of the user's."""

from reenact_zoo.metrics._action_units import EXPORTED, _Kappa, action_unit_card


class AUKappa(_Kappa):
    """See the card."""

    card = action_unit_card("au_kappa", EXPORTED)

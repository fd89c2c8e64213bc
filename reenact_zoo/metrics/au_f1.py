"""F1 of action units, the driving face's as the truth, by a network of the user's."""

from reenact_zoo.metrics._action_units import _F1, EXPORTED, action_unit_card


class AUF1(_F1):
    """See the card."""

    card = action_unit_card("au_f1", EXPORTED)

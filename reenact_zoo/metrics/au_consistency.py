"""Share of action units on whose presence the reenacted and the driving face agree, by a network of the user's."""

from reenact_zoo.metrics._action_units import EXPORTED, _Agreement, action_unit_card


class AUConsistency(_Agreement):
    """See the card."""

    card = action_unit_card("au_consistency", EXPORTED)

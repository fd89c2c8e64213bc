"""Share of action units on whose presence the reenacted and the driving face agree, by landmarks alone."""

from reenact_zoo.metrics._action_units import GEOMETRIC, _Agreement, action_unit_card


class AUConsistencyGeometric(_Agreement):
    """See the card."""

    card = action_unit_card("au_consistency", GEOMETRIC)

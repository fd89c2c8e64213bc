"""End-point error of flow, all pixels with a true origin."""

from reenact_zoo.metrics._flow_error import _FlowError, flow_card


class EPE(_FlowError):
    """End-point error of flow."""

    card = flow_card("epe", "EPE", "the pixels of head and background that the source shows too")

"""End-point error of flow, pixels of the head only: background that does not move dilutes the other one."""

from reenact_zoo.metrics._flow_error import _FlowError, flow_card


class EPEHead(_FlowError):
    """End-point error of flow on the head."""

    head_only = True
    card = flow_card("epe_head", "EPE head", "the pixels of the true target's head that the source shows too")

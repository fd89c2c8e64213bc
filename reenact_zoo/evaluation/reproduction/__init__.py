"""Published tables beside our records, with a verdict for every cell."""

from reenact_zoo.evaluation.reproduction.verdict import Check, Reproduction, Verdict, reproduce

__all__ = ["Check", "Reproduction", "Verdict", "reproduce"]

"""People as judges: a blinded kit of A/B questions that works from disk, and what the answers say."""

from reenact_zoo.evaluation.study.answers import Duel, Findings, fleiss_kappa, read_study, sheet
from reenact_zoo.evaluation.study.kit import KEY, PAGE, Kit, make_study

__all__ = ["KEY", "PAGE", "Duel", "Findings", "Kit", "fleiss_kappa", "make_study", "read_study", "sheet"]

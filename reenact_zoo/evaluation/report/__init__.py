"""One static HTML page per folder of results: opens from disk, needs no network, made from records alone."""

from reenact_zoo.evaluation.report.page import write_report

__all__ = ["write_report"]

"""Tables from records alone: one row a method, one column a metric; ranked only where that means something."""

from reenact_zoo.evaluation.table.build import build_table
from reenact_zoo.evaluation.table.results import BOUNDS, Cell, Column, ResultTable, Row
from reenact_zoo.evaluation.table.sheet import MISSING

__all__ = ["BOUNDS", "MISSING", "Cell", "Column", "ResultTable", "Row", "build_table"]

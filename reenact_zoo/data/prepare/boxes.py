"""Official boxes: where a dataset's authors saw the face of each clip."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from reenact_zoo.faces.align import SquareBox
from reenact_zoo.types import InputError

COLUMNS = ("clip", "left", "top", "right", "bottom", "width", "height")
VOXCELEB_COLUMNS = ("video_id", "start", "end", "bbox", "width", "height", "person_id")


@dataclass(frozen=True)
class OfficialBox:
    """Edges in pixels of a frame of ``width`` x ``height``, which need not be the size of the file at hand."""

    left: float
    top: float
    right: float
    bottom: float
    width: float
    height: float

    def square(self, width: int, height: int, scale: float) -> SquareBox:
        """The square of ``scale`` times the longer side about the box's centre, in a frame of width x height."""
        x, y = width / self.width, height / self.height
        side = max((self.right - self.left) * x, (self.bottom - self.top) * y) * scale
        # edges count from the corner of the frame, centres of pixels from half a pixel inside it
        return SquareBox((self.left + self.right) / 2 * x - 0.5, (self.top + self.bottom) / 2 * y - 0.5, side)


def read_boxes(path: Path) -> dict[str, OfficialBox]:
    """Clip name → box, from a CSV file with ``COLUMNS``, or from vox-metadata.csv of the FOMM line.

    Raises:
        InputError: no such file, a column missing, or a row that is no box.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = set(reader.fieldnames or ())
            if not (names.issuperset(COLUMNS) or names.issuperset(VOXCELEB_COLUMNS)):
                raise InputError(f"'{path}' is no list of boxes; it needs the columns {', '.join(COLUMNS)}")
            return dict(_box(row, f"'{path}', line {reader.line_num}") for row in reader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the boxes in '{path}': {error}") from error


def _box(row: dict[str, str], where: str) -> tuple[str, OfficialBox]:
    try:
        if "bbox" in row:
            edges = row["bbox"].split("-")  # left-top-right-bottom
            start, end = int(row["start"]), int(row["end"])
            name = f"{row['person_id']}#{row['video_id']}#{start:06d}#{end:06d}"
        else:
            edges, name = [row[edge] for edge in COLUMNS[1:5]], row["clip"]
        left, top, right, bottom = map(float, edges)
        box = OfficialBox(left, top, right, bottom, float(row["width"]), float(row["height"]))
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error
    if box.right <= box.left or box.bottom <= box.top or min(box.width, box.height) <= 0:
        raise InputError(f"{where}: the box of '{name}' is empty")
    return name, box

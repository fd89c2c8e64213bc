"""An evaluation for TensorBoard: its means as scalars, its kept pictures as one grid; made from the record alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reenact_zoo.evaluation.records import GalleryPair, Record
from reenact_zoo.types import InputError

FOLDER = "tensorboard"
_ROWS = 8
_ROLES = ("source", "driving", "reenacted", "truth")


def write_board(record: Record, out: Path) -> Path:
    """Replace ``tensorboard/<record>`` below ``out``; returns it.

    Scalars are "<protocol>/<metric>" with the method as the run's name; the grid has a row a pair: source, driving,
    reenacted, truth (grey where there is none).

    Raises:
        InputError: the folder cannot be written, or a picture of the gallery cannot be read.
    """
    from torch.utils.tensorboard import SummaryWriter

    folder = out / FOLDER / record.stem
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with SummaryWriter(str(folder)) as writer:
            for name, result in record.metrics.items():
                if result.mean is not None:
                    writer.add_scalar(f"{record.protocol}/{name}", result.mean, 0)
            if record.gallery:
                grid = _grid(record.gallery[:_ROWS], out)
                writer.add_image(f"{record.protocol}/pairs", grid, 0)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def _grid(pairs: list[GalleryPair], out: Path) -> Tensor:
    """(3, rows H, 4 W) in [0, 1]."""
    first = _picture(out / pairs[0].source)
    blank = torch.full_like(first, 0.5)
    rows = [
        torch.cat([_picture(out / path) if (path := getattr(pair, role)) else blank for role in _ROLES], dim=2)
        for pair in pairs
    ]
    return torch.cat(rows, dim=1)


def _picture(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).float() / 255

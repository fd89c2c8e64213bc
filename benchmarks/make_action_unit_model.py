"""Derive the directions of the geometric action-unit estimator from ICT-FaceKit (MIT licence).

    python benchmarks/make_action_unit_model.py ict_facekit.npz reenact_zoo/bundled/action_units

For every unit: how far the 68 landmarks move, in cm, when the blend shapes that show it are at full strength on both
sides; beside them the mean points and the main modes of identity.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.faces.action_units import SHAPES_OF_UNIT

IDENTITY_MODES = 14


def derive(path: Path) -> dict[str, NDArray[np.float32]]:
    """Arrays: mean (68, 3), identity (14, 68, 3) per standard deviation, units (A, 68, 3) at full strength; cm."""
    with np.load(path) as file:
        ict = {name: file[name] for name in file.files}
    index = ict["landmarks68"]
    names = [str(name) for name in ict["expression_names"]]
    directions = ict["expression_dirs"][:, index].astype(np.float64)
    units = [sum(directions[names.index(shape)] for shape in shapes) for shapes in SHAPES_OF_UNIT.values()]
    flat = ict["identity_dirs"][:, index].astype(np.float64).reshape(len(ict["identity_dirs"]), -1)
    _, values, rows = np.linalg.svd(flat, full_matrices=False)
    print(f"{IDENTITY_MODES} modes hold {(values[:IDENTITY_MODES] ** 2).sum() / (values**2).sum():.1%} of the variance")
    arrays = {
        "mean": ict["v_template"][index].astype(np.float64),
        "identity": (values[:, None] * rows)[:IDENTITY_MODES].reshape(-1, 68, 3),
        "units": np.stack(units),
    }
    return {name: np.round(value, 4).astype(np.float32) for name, value in arrays.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ict_facekit", type=Path, help="converted head, with LICENSE_ict_facekit beside it")
    parser.add_argument("out", type=Path, help="folder that gets the directions and the licence")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / "action_units.npz"
    np.savez_compressed(target, **derive(arguments.ict_facekit))
    shutil.copyfile(arguments.ict_facekit.with_name("LICENSE_ict_facekit"), arguments.out / "LICENSE")
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()

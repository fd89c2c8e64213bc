"""Derive the small face model of ``landmark_warp`` from ICT-FaceKit (MIT licence): mean points and their main modes.

    python benchmarks/make_landmark_model.py ict_facekit.npz reenact_zoo/bundled/landmark_model

The points are the 68 landmarks and a few more on cheeks and forehead. The 100 identity directions and the 53 expression
directions are each condensed, at these points, into the principal modes of the point cloud they span.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# (x, y) in cm on the front of the neutral head, image-right half; the other half is mirrored.
EXTRA = (
    (0.0, 7.6), (0.0, 10.0), (2.9, 7.9), (2.7, 10.2), (5.2, 7.4), (5.0, 9.4), (6.7, 5.6),
    (5.6, 2.4), (3.2, 1.7), (4.4, 0.2), (5.6, -1.0), (2.7, -0.9), (3.9, -2.6), (3.4, -4.8),
    (1.2, -5.6), (0.0, -5.7),
)  # fmt: skip
IDENTITY_MODES, EXPRESSION_MODES = 14, 16
EXPRESSION_STD = 0.3  # of one blend-shape weight in [0, 1]: most rest near 0 at any time


def front_vertex(vertices: NDArray[np.float32], facing: NDArray[np.bool_], x: float, y: float) -> int:
    """Index of the front surface's vertex nearest to (x, y)."""
    distance = np.hypot(vertices[:, 0] - x, vertices[:, 1] - y)
    distance[~facing] = np.inf
    return int(distance.argmin())


def modes(directions: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Directions (D, P, 3) with independent unit weights → their ``count`` principal modes (count, P, 3)."""
    _, values, rows = np.linalg.svd(directions.reshape(len(directions), -1), full_matrices=False)
    print(f"{count} of {len(values)} modes hold {(values[:count] ** 2).sum() / (values**2).sum():.1%} of the variance")
    return (values[:count, None] * rows[:count]).reshape(count, *directions.shape[1:])


def derive(path: Path) -> dict[str, NDArray[np.float32]]:
    """Arrays of the face model: mean (P, 3), identity (KI, P, 3), expression (KE, P, 3), cm."""
    with np.load(path) as file:
        ict = {name: file[name] for name in file.files}
    vertices = ict["v_template"]
    face = np.zeros(len(vertices), bool)
    face[ict["f"][ict["face_material"] == list(ict["materials"]).index("M_Face")]] = True
    facing = face & (vertices[:, 2] > 3)
    right = [front_vertex(vertices, facing, x, y) for x, y in EXTRA]
    left = [front_vertex(vertices, facing, -x, y) for x, y in EXTRA if x > 0]
    index = np.concatenate([ict["landmarks68"], right, left])
    identity = ict["identity_dirs"][:, index].astype(np.float64)
    expression = ict["expression_dirs"][:, index].astype(np.float64) * EXPRESSION_STD
    arrays = {
        "mean": vertices[index].astype(np.float64),
        "identity": modes(identity, IDENTITY_MODES),
        "expression": modes(expression, EXPRESSION_MODES),
    }
    return {name: np.round(values, 4).astype(np.float32) for name, values in arrays.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ict_facekit", type=Path, help="converted head, with LICENSE_ict_facekit beside it")
    parser.add_argument("out", type=Path, help="folder that gets the model and the licence")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / "landmark_model.npz"
    np.savez_compressed(target, **derive(arguments.ict_facekit))
    shutil.copyfile(arguments.ict_facekit.with_name("LICENSE_ict_facekit"), arguments.out / "LICENSE")
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""Write the matrix that turns ICT-FaceKit's 53 expression weights into the synthetic judge's code (MIT licence).

    python benchmarks/make_expression_code.py ict_facekit.npz reenact_zoo/bundled/expression_code

Metrics need it to compare the judge's reading with known coefficients where the head model itself is not at hand.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

from reenact_zoo.faces.morphable.ict import IctHead
from reenact_zoo.faces.networks.synthetic_motion import CODE
from reenact_zoo.train.instruments.expression_code import expression_basis


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ict_facekit", type=Path, help="converted head, with LICENSE_ict_facekit beside it")
    parser.add_argument("out", type=Path, help="folder that gets the matrix and the licence")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    head = IctHead(arguments.ict_facekit)
    target = arguments.out / "expression_code.npz"
    # names say which column is which: a head whose expressions have another order is another matrix
    np.savez_compressed(target, basis=expression_basis(head, CODE).numpy(), names=np.array(head.expression_names))
    shutil.copyfile(arguments.ict_facekit.with_name("LICENSE_ict_facekit"), arguments.out / "LICENSE")
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""Run by test_ddp.py in its own processes: three trainings on two processes, the last one a resume of the second."""

import sys
from pathlib import Path

from reenact_zoo.config import load_train_config
from reenact_zoo.train.fit import fit

if __name__ == "__main__":
    configuration, out = sys.argv[1], Path(sys.argv[2])
    fit(load_train_config(configuration, ["max_updates=4"]), out=out / "straight", quiet=True)
    fit(load_train_config(configuration, ["max_updates=2"]), out=out / "halves", quiet=True)
    fit(load_train_config(configuration, ["max_updates=4"]), resume=out / "halves", quiet=True)

"""Held-out pairs through a method, step by step: source, driving, chosen entries of ``aux``, output, true target.

python benchmarks/method_pictures.py one_shot --aux generated warped mask --out docs/pictures/one_shot_64.png

Inputs are what the benchmark gives: bundled test people, annotations estimated from pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reenact_zoo.data.evaluation import EvaluationPairs, collate
from reenact_zoo.data.pairs import Pair
from reenact_zoo.evaluation.protocol import load_protocol
from reenact_zoo.evaluation.runner import build_dataset
from reenact_zoo.evaluation.session import without_targets
from reenact_zoo.faces.annotate import Annotator
from reenact_zoo.faces.measure import FaceMeasurer, measured_folder
from reenact_zoo.registry import METHODS

GAP = 2


def chosen(pairs: list[Pair], count: int) -> list[Pair]:
    """Evenly spread over the change of yaw, so that no good or bad pair is picked by hand."""
    ordered = sorted(pairs, key=lambda pair: (pair.bins["delta_yaw_deg"], pair.pair_id))
    return [ordered[round((k + 0.5) * len(ordered) / count)] for k in range(count)]


def tile(image: Tensor, side: int, factor: int) -> NDArray[np.uint8]:
    """(3 or 1, h, w) in [0, 1] → (side * factor, side * factor, 3)."""
    shown = image.expand(3, -1, -1).clamp(0, 1).nan_to_num(0.5).permute(1, 2, 0).mul(255).round().byte().numpy()
    return cv2.resize(shown, (side * factor, side * factor), interpolation=cv2.INTER_NEAREST)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method")
    parser.add_argument("--aux", nargs="*", default=[], help="entries of ReenactmentOutput.aux, in order")
    parser.add_argument("--protocol", default="synthetic_cross_64")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="settings altered for this picture")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--factor", type=int, default=2, help="screen pixels per pixel")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    protocol = load_protocol(given.protocol)
    dataset = build_dataset(protocol, None)
    pairs = chosen(protocol.select_pairs(dataset), given.pairs)
    data = EvaluationPairs(dataset, pairs, lambda ref: _image(dataset, ref), protocol.resolution, whole_frames=True)
    batch = collate([data[k] for k in range(len(pairs))])
    changes = dict(entry.split("=", 1) for entry in given.set)
    method = METHODS.get(given.method).ready(given.checkpoint, protocol.resolution, changes)
    seen = Annotator(FaceMeasurer(cache=measured_folder())).fill(without_targets(batch), method.requires)
    with torch.inference_mode():
        output = method.reenact(seen)
    columns = [batch["source"], batch["driving"], *[output.aux[name] for name in given.aux], output.reenacted]
    columns.append(cast("dict[str, Any]", batch)["target"])
    rows = [[tile(column[k], protocol.resolution, given.factor) for column in columns] for k in range(len(pairs))]
    framed = [
        np.concatenate([np.pad(t, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for t in r], 1) for r in rows
    ]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(given.out), np.concatenate(framed)[:-GAP, :-GAP, ::-1])
    print(f"{given.out}: source, driving, {', '.join([*given.aux, 'output', 'true target'])}")
    for pair in pairs:
        print(f"  {pair.pair_id}: yaw changes by {pair.bins['delta_yaw_deg']:.0f} degrees")


def _image(dataset: Any, ref: Any) -> Tensor:
    return torch.from_numpy(dataset.frame(ref)).permute(2, 0, 1).float() / 255


if __name__ == "__main__":
    main()

"""What flow_renderer claims, measured on held-out people: background, flow, large turns, and its ablations.

python benchmarks/flow_proof.py --checkpoint runs/flow_renderer/weights.safetensors \\
    --row fomm=runs/fomm/weights.safetensors --ablation "no cyclic loss=runs/flow_no_cycle/weights.safetensors" \\
    --out benchmarks/results/flow_renderer

Inputs are what the benchmark gives: the pairs of protocol synthetic_cross_64, annotations estimated from pixels. Writes
flow_proof.json and flow_proof.md:

* background: share of the true background (true target's matte below 1/255) that is known (K': known in the source, and
  nothing drawn over it), and whether the source's pixels are there bit by bit; L1 outside the head region beside
  one_shot, landmark_warp and fomm;
* flow: end-point error in pixels against the renderer's correspondence, on pixels of the head that the source shows
  too, by change of yaw, beside landmark_warp's flow and no flow;
* L1 and MS-SSIM in the head region by change of yaw, and the paired difference to the full method with its 95 %
  interval over sources and drivers.

Ablations are trained at one smaller budget; ``--ablation-base`` is the full method at that budget, which they are then
compared with. A method without weights is left out, and the table says so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reenact_zoo.data.crops import CroppedClips, CropSpec
from reenact_zoo.data.evaluation import EvaluationPairs, collate
from reenact_zoo.data.pairs import Pair
from reenact_zoo.evaluation.protocol import load_protocol
from reenact_zoo.evaluation.runner import build_dataset, shared_measurer
from reenact_zoo.evaluation.session import without_targets
from reenact_zoo.evaluation.statistics import difference
from reenact_zoo.faces.annotate import Annotator
from reenact_zoo.methods.base import ReenactmentModule
from reenact_zoo.metrics.base import PairMetric
from reenact_zoo.metrics.epe_head import EPEHead
from reenact_zoo.metrics.l1_background import L1Background
from reenact_zoo.metrics.l1_head import L1Head
from reenact_zoo.metrics.ms_ssim_head_64 import MSSSIMHead64
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.registry import METHODS
from reenact_zoo.types import InputError, PairBatch, ReenactmentOutput

FULL = "flow_renderer"
BASE = "flow_renderer, equal budget"
STILL = "no flow"
BINS = ((0, 15), (15, 30), (30, 60))
LEAST = 1 / 255  # of a matte that counts as foreground
METRICS: dict[str, Callable[[], PairMetric]] = {
    "l1_head": L1Head,
    "ms_ssim_head_64": MSSSIMHead64,
    "l1_background": L1Background,
    "epe_head": EPEHead,
}
HIGHER_IS_BETTER = {"l1_head": False, "ms_ssim_head_64": True}


@dataclass
class Row:
    """Per-pair values of one method.

    Attributes:
        values: metric → (N,) so far.
        about: what else is counted, per pair.
    """

    values: dict[str, list[float]] = field(default_factory=dict)
    about: dict[str, list[float]] = field(default_factory=dict)

    def add(self, found: dict[str, Tensor], into: dict[str, list[float]]) -> None:
        """Append one batch of (B,) values."""
        for name, value in found.items():
            into.setdefault(name, []).extend(value.double().tolist())


# --- measures -----------------------------------------------------------------------------------------------------


def background(batch: PairBatch, output: ReenactmentOutput) -> dict[str, Tensor]:
    """Per pair (B,): what is known of the true background, and whether it is untouched.

    "covered": share of the pixels whose true target's matte is below 1/255 that lie in K'; "covered_if_seen": the same
    among those that the source's head does not hide; "touched": pixels of K' that are not the source's bit by bit.
    """
    known = (output.aux["known"] > 0) & (output.aux["matte"] < LEAST)
    free = batch["target_matte"] < LEAST
    seen = free & (batch["target_source_matte"] < LEAST)
    differs = (output.reenacted != batch["source"]).any(1, keepdim=True)
    return {
        "covered": _share(known & free, free),
        "covered_if_seen": _share(known & seen, seen),
        "touched": (known & differs).flatten(1).sum(1),
    }


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part.flatten(1).sum(1) / whole.flatten(1).sum(1)


def scores(batch: PairBatch, output: ReenactmentOutput) -> dict[str, Tensor]:
    """Per pair (B,), by metric; NaN where a method has no flow."""
    return {name: metric().pair_values(batch, output) for name, metric in METRICS.items()}


def standing_still(batch: PairBatch) -> ReenactmentOutput:
    """The source as it is, with the flow that says so."""
    height, width = batch["source"].shape[2:]
    grid = identity_grid(height, width).expand(len(batch["source"]), -1, -1, -1)
    return ReenactmentOutput(batch["source"], {"flow": grid})


def in_bins(values: np.ndarray, yaw: np.ndarray) -> list[float]:
    """Means over all pairs and over each of ``BINS``; NaN where no pair has a value."""
    chosen = [np.ones_like(yaw, dtype=bool), *((yaw >= low) & (yaw < high) for low, high in BINS)]
    parts = [values[rows & np.isfinite(values)] for rows in chosen]
    return [float(part.mean()) if len(part) else float("nan") for part in parts]


# --- running ------------------------------------------------------------------------------------------------------


def batches(protocol_name: str, limit: int | None, size: int) -> Iterator[tuple[list[Pair], PairBatch]]:
    """Pairs of a protocol with their truth."""
    protocol = load_protocol(protocol_name)
    dataset = build_dataset(protocol, None)
    pairs = protocol.select_pairs(dataset)[:limit]
    images = CroppedClips(dataset, CropSpec(size=protocol.resolution)).image
    data = EvaluationPairs(dataset, pairs, images, protocol.resolution, whole_frames=True)
    for begin in range(0, len(pairs), size):
        part = range(begin, min(begin + size, len(pairs)))
        yield [pairs[k] for k in part], collate([data[k] for k in part])


def methods(given: argparse.Namespace) -> tuple[dict[str, ReenactmentModule[Any]], dict[str, str]]:
    """Rows that can be made, and why others cannot."""
    size = load_protocol(given.protocol).resolution
    wanted: dict[str, tuple[str, Path | None]] = {
        FULL: (FULL, given.checkpoint),
        **{name: (name, None) for name in ("one_shot", "landmark_warp", "fomm")},
        **{name: (name, path) for name, path in given.row},
    }
    if given.ablation_base is not None:
        wanted[BASE] = (FULL, given.ablation_base)
    wanted |= {title: (FULL, path) for title, path in given.ablation}
    found: dict[str, ReenactmentModule[Any]] = {}
    lacking = {}
    for title, (name, path) in wanted.items():
        try:
            found[title] = METHODS.get(name).ready(path, size)
        except InputError as error:
            if path is not None or name == FULL:
                raise
            lacking[title] = str(error)
    return found, lacking


@torch.inference_mode()
def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything; the record that is written."""
    makers, lacking = methods(given)
    rows: dict[str, Row] = {title: Row() for title in (*makers, STILL)}
    annotator, pairs = Annotator(shared_measurer()), []
    for part, batch in batches(given.protocol, given.limit, given.batch_size):
        pairs += part
        rows[STILL].add(scores(batch, standing_still(batch)), rows[STILL].values)
        for title, method in makers.items():
            output = method.reenact(annotator.fill(without_targets(batch), method.requires))
            rows[title].add(scores(batch, output), rows[title].values)
            if "known" in output.aux:
                rows[title].add(background(batch, output), rows[title].about)
        print(f"{len(pairs)} pairs", flush=True)
    base = BASE if BASE in rows else FULL
    ablations = [title for title, _ in given.ablation]
    return {
        "protocol": given.protocol,
        "pairs": len(pairs),
        "unavailable": lacking,
        "rows": {title: summary(row, pairs) for title, row in rows.items()},
        "ablations": [base, *ablations] if ablations else [],
        "minus": {
            title: versus(row, rows[base if title in ablations else FULL], pairs)
            for title, row in rows.items()
            if title not in (FULL, BASE)
        },
    }


def summary(row: Row, pairs: list[Pair]) -> dict[str, Any]:
    """Means, over all pairs and by change of yaw."""
    yaw = _yaw(pairs)
    found: dict[str, Any] = {name: in_bins(np.array(values), yaw) for name, values in row.values.items()}
    if row.about:
        found["covered"] = float(np.nanmean(row.about["covered"]))
        found["covered_if_seen"] = float(np.nanmean(row.about["covered_if_seen"]))
        found["touched"] = int(sum(row.about["touched"]))
    return found


def versus(row: Row, full: Row, pairs: list[Pair]) -> dict[str, Any]:
    """Full method minus ``row``, over all pairs and by change of yaw: mean and 95 % interval."""
    yaw = _yaw(pairs)
    found: dict[str, Any] = {}
    for name, better in HIGHER_IS_BETTER.items():
        ours, theirs = np.array(full.values[name]), np.array(row.values[name])
        found[name] = []
        for low, high in ((0, 180), *BINS):
            chosen = np.flatnonzero((yaw >= low) & (yaw < high))
            people = [[_person(getattr(pairs[k], role)) for k in chosen] for role in ("source", "driving")]
            delta = difference(ours[chosen], theirs[chosen], *people, higher_is_better=better)
            found[name].append({"mean": delta.mean, "low": delta.low, "high": delta.high})
    return found


def _person(ref: Any) -> str:
    """Clips of the synthetic data set are named split_person_number."""
    return str(ref.clip).rpartition("_")[0]


def _yaw(pairs: list[Pair]) -> np.ndarray:
    return np.array([pair.bins["delta_yaw_deg"] for pair in pairs])


# --- what is written ----------------------------------------------------------------------------------------------


def as_markdown(result: dict[str, Any]) -> str:
    """The tables of the record."""
    rows, head = result["rows"], "all | 0–15° | 15–30° | 30–60°"
    full = rows[FULL]
    lines = [
        f"{result['pairs']} pairs of `{result['protocol']}`, annotations estimated. Columns by change of yaw.",
        "",
        f"Known background covers {100 * full['covered']:.1f} % of the true background "
        f"({100 * full['covered_if_seen']:.1f} % of what the source's head does not hide); {full['touched']} of its "
        "pixels differ from the source.",
        "",
        *_table("L1 background", "l1_background", rows, 4, head),
        *_table("EPE head, px", "epe_head", rows, 2, head),
        *_table("L1 head", "l1_head", rows, 4, head),
        *_table("MS-SSIM head", "ms_ssim_head_64", rows, 3, head),
    ]
    for name, title in (("l1_head", "L1 head"), ("ms_ssim_head_64", "MS-SSIM head")):
        lines += [f"| {title}: the full method minus this [95 %] | {head} |", "|---|---|---|---|---|"]
        for row, found in result["minus"].items():
            lines.append(f"| {row} | " + " | ".join(_interval(cell) for cell in found[name]) + " |")
        lines.append("")
    if result["ablations"]:
        lines += [f"Ablations have one budget and are compared with: {result['ablations'][0]}.", ""]
    lines += [f"Left out: {name} ({why})." for name, why in result["unavailable"].items()]
    return "\n".join(lines) + "\n"


def _table(title: str, name: str, rows: dict[str, Any], digits: int, head: str) -> list[str]:
    lines = [f"| {title} | {head} |", "|---|---|---|---|---|"]
    for row, found in rows.items():
        cells = ["–" if np.isnan(value) else f"{value:.{digits}f}" for value in found[name]]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return [*lines, ""]


def _interval(cell: dict[str, float | None]) -> str:
    if cell["mean"] is None or np.isnan(cell["mean"]):
        return "–"
    ends = "" if cell["low"] is None else f" [{cell['low']:+.4f}, {cell['high']:+.4f}]"
    return f"{cell['mean']:+.4f}{ends}"


def titled(text: str) -> tuple[str, Path]:
    """NAME=FILE."""
    name, _, path = text.partition("=")
    if not path:
        raise argparse.ArgumentTypeError(f"'{text}' must be NAME=FILE")
    return name, Path(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="of flow_renderer; bundled weights where omitted")
    parser.add_argument("--row", type=titled, nargs="*", default=[], metavar="METHOD=FILE", help="weights of another")
    parser.add_argument("--ablation", type=titled, nargs="*", default=[], metavar="TITLE=FILE")
    parser.add_argument("--ablation-base", type=Path, help="the full method at the ablations' budget")
    parser.add_argument("--protocol", default="synthetic_cross_64")
    parser.add_argument("--limit", type=int, help="the first pairs only")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--out", type=Path, required=True, help="folder that gets flow_proof.json and .md")
    given = parser.parse_args()
    result = measure(given)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "flow_proof.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (given.out / "flow_proof.md").write_text(as_markdown(result), encoding="utf-8")
    print(as_markdown(result))


if __name__ == "__main__":
    main()

"""What the page says about how the numbers were made: protocol, runs, metric cards."""

from __future__ import annotations

from typing import Any

from reenact_zoo.evaluation.records import Record
from reenact_zoo.evaluation.table import MISSING, Column
from reenact_zoo.evaluation.table.results import name_of

_SHOWN = 12  # characters of a hash


def protocol_facts(record: Record) -> list[tuple[str, str]]:
    """Name and text of what a reader must know of the protocol."""
    content = record.protocol_content
    crop = content["crop"]["policy"]
    return [
        ("setting", f"{content['setting']}-reenactment"),
        ("motion", content["motion"]),
        ("data", content["dataset"]["name"]),
        ("pictures", f"{content['resolution']} × {content['resolution']} px"),
        ("crop", "whole frame" if crop == "none" else f"around the {crop}"),
        ("annotations", "estimated from pixels" if content["annotations"] == "estimated" else "oracle: the truth"),
        ("pairs", f"{record.num_pairs}{' (partial run)' if record.partial else ''}"),
        ("hash", record.protocol_hash[:10]),
    ]


def run_conditions(record: Record) -> list[tuple[str, str]]:
    """Name and text of what one run was; the same names in the same order for every record."""
    c = record.conditions
    return [
        ("method", record.method),
        ("seed", str(record.seed)),
        ("configuration", ", ".join(f"{k}={v}" for k, v in record.config.items()) or MISSING),
        ("weights", record.weights[:_SHOWN] or "none needed"),
        ("pairs", f"{record.num_pairs:,}{', partial' if record.partial else ''}; hash {record.pairs_hash[:_SHOWN]}"),
        ("failed", _failures(record)),
        ("face found", MISSING if record.detection_rate is None else f"{100 * record.detection_rate:.1f} % of pairs"),
        ("device", f"{c.device}, {c.threads} thread{'s' if c.threads != 1 else ''}"),
        ("speed", MISSING if c.frames_per_s is None else f"{c.frames_per_s:,.1f} pictures/s"),
        ("time", f"{c.seconds:.1f} s, of it method {c.method_seconds:.1f} s, annotations {c.annotation_seconds:.1f} s"),
        ("memory", _memory(record)),
        ("made", c.started.replace("T", " ").replace("+00:00", " UTC")),
        ("commit", c.commit[:_SHOWN] + ("+changes" if c.commit.endswith("+changes") else "") or MISSING),
        ("protocol hash", record.protocol_hash[:_SHOWN]),
        ("versions", ", ".join(f"{name} {number}" for name, number in c.versions.items())),
    ]


def runs(records: list[Record]) -> dict[str, Any]:
    """All runs side by side: names of the rows as heads, then a line for each condition."""
    columns = [run_conditions(record) for record in records]
    lines = [(texts[0][0], [text for _, text in texts]) for texts in zip(*columns, strict=True)]
    return {"heads": [name_of(record) for record in records], "lines": lines}


def _failures(record: Record) -> str:
    if not record.num_failed:
        return "0"
    return f"{record.num_failed:,}: " + "; ".join(f"{n} × {why}" for why, n in record.failures.items())


def _memory(record: Record) -> str:
    c = record.conditions
    device = "" if c.peak_device_memory_mb is None else f" + {c.peak_device_memory_mb:,.0f} MB on the device"
    return f"{c.peak_memory_mb:,.0f} MB{device}"


def card(column: Column) -> dict[str, Any]:
    """A metric's card in words."""
    content = column.card
    return {
        "name": column.name,
        "title": content["title"],
        "unit": content["unit"],
        "arrow": column.arrow,
        "better": {True: "higher", False: "lower", None: ""}[content["higher_is_better"]],
        "card": f"{content['name']}.v{content['version']}",
        "compares": content["compares"],
        "face_missing": content["face_missing"],
        "made": [
            (name, content[key])
            for name, key in (
                ("alignment", "alignment"),
                ("colours", "colour_range"),
                ("reduction", "reduction"),
                ("a lost face counts", "penalty"),
            )
            if content.get(key) not in (None, "")
        ],
        "about": [(name, value) for name, value in content.get("about", {}).items()],
        "reference": content["reference"],
        "weights": {name: sha[:_SHOWN] for name, sha in content.get("weights", {}).items()},
    }

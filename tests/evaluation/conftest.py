"""Protocols over the fake world, written as the YAML files a user would write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reenact_zoo.evaluation.protocol import Protocol, load_protocol

Write = Callable[..., Protocol]


@pytest.fixture
def write_protocol(tmp_path: Path) -> Write:
    """Function that writes a protocol with some fields changed (dotted keys allowed) and loads it."""

    def write(name: str = "greys_cross", **changes: Any) -> Protocol:
        fields: dict[str, Any] = {
            "name": name,
            "version": 1,
            "title": "Flat greys",
            "dataset": {"name": "fake_world:Greys", "config": {}},
            "setting": "cross",
            "pair_rule": {"frames": 4},
            "resolution": 16,
            "metrics": ["fake_world:ToTarget", "fake_world:Level", "fake_world:Closeness", "fake_world:Smile"],
        }
        for key, value in changes.items():
            if key.startswith("dataset_"):
                fields["dataset"]["config"][key.removeprefix("dataset_")] = value
            else:
                fields[key] = value
        path = tmp_path / "protocols" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(fields))
        return load_protocol(str(path))

    return write

"""Protocols over the fake world, written as the YAML files a user would write."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_world import Write, protocol_writer


@pytest.fixture
def write_protocol(tmp_path: Path) -> Write:
    """Function that writes a protocol with some fields changed and loads it."""
    return protocol_writer(tmp_path)

"""Both dense heads for the tests of this folder; ict is thinned out once per test run."""

from __future__ import annotations

from pathlib import Path

import pytest

from reenact_zoo.faces.morphable import load_head
from reenact_zoo.faces.morphable._dense import DenseHead

SHARED = Path(__file__).resolve().parents[4] / "shared"


@pytest.fixture(scope="session")
def ict_source() -> Path:
    path = SHARED / "data" / "morphable" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip("needs data/morphable/ict_facekit.npz of the shared data beside the checkout")
    return path


@pytest.fixture(scope="session")
def ict(ict_source: Path) -> DenseHead:
    head = load_head("ict", path=ict_source)
    assert isinstance(head, DenseHead)
    return head


@pytest.fixture(scope="session")
def procedural() -> DenseHead:
    head = load_head("procedural")
    assert isinstance(head, DenseHead)
    return head


@pytest.fixture(params=["procedural", "ict"])
def head(request: pytest.FixtureRequest) -> DenseHead:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, DenseHead)
    return found

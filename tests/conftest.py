"""Fixtures that several test folders share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(relative: str) -> Path:
    path = SHARED / relative
    if not path.is_dir():
        pytest.skip(f"needs the folder '{relative}' of the shared data beside the checkout")
    return path


@pytest.fixture
def shared() -> Path:
    """Folder of golden data, real clips and small real weights; lies beside the checkout, never inside it."""
    return _folder(".")


@pytest.fixture
def golden() -> Path:
    """Outputs of the authors' networks under pseudo-random weights."""
    return _folder("golden")


@pytest.fixture
def real_clips() -> Path:
    """Six short clips of real people."""
    return _folder("data/real_clips")


@pytest.fixture
def weights_folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Real weights under permissive licences; also made known to the weight store."""
    path = _folder("data/weights").parent
    monkeypatch.setenv("REENACT_ZOO_WEIGHTS", str(path))
    return path


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """Public-domain portrait (512, 512, 3), NASA, from scikit-image."""
    import skimage.data

    return np.asarray(skimage.data.astronaut())

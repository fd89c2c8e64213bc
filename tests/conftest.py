"""Fixtures that several test folders share."""

from __future__ import annotations

import os

# Before the first import of torch or numpy, and for the processes that tests start: as many workers as cores run tests
# already, and idle threads of OpenMP wait by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_trees
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


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A run begins with an empty cache, whatever the user's holds; its workers share what is slow to make (heads)."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REENACT_ZOO_CACHE", str(shared / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_probes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is known about files that tests made is forgotten after them."""
    folder = tmp_path_factory.mktemp("probes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reenact_zoo.datasets._probes.cache_folder", lambda: folder)
        yield


@pytest.fixture(scope="session")
def fake_tree(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of a layout in ``fake_trees`` → its root, made once; tests leave it as it is."""
    made: dict[str, Path] = {}

    def root(layout: str) -> Path:
        if layout not in made:
            made[layout] = fake_trees.LAYOUTS[layout](tmp_path_factory.mktemp(layout))
        return made[layout]

    return root


@pytest.fixture
def own_tree(fake_tree: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """As ``fake_tree``, a copy that the test may damage."""

    def root(layout: str) -> Path:
        return Path(shutil.copytree(fake_tree(layout), tmp_path / layout))

    return root


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """Public-domain portrait (512, 512, 3), NASA, from scikit-image."""
    import skimage.data

    return np.asarray(skimage.data.astronaut())

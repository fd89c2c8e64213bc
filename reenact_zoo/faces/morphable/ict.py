"""ICT-FaceKit (Li et al., CVPR 2020, arXiv:2004.03458), MIT licence: 100 identity, 53 expression directions from scans.

The full head (26,719 vertices) is thinned out once to about 8,000 of its own vertices, dense in the face, and kept in
the user cache; the transparent layers of the eyes, the inner eyeballs and the lashes are dropped. In the face the thin
surface lies within 1.1 mm of the full one (0.05 mm on average). Texture, pose and the uv atlas are ours; expressions
and landmarks keep the names of the original, and lengths are its centimetres.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from reenact_zoo.faces.morphable._dense import DenseHead, HeadArrays
from reenact_zoo.faces.morphable._ict_build import VERSION, build, read_source
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightStore, cache_folder, file_sha256


class IctHead(DenseHead):
    """The ``ict`` head model.

    Args:
        path: ``ict_facekit.npz`` or the folder of OBJ files of ICT-FaceKit (FaceXModel); by default the weight store's
            entry "ict_facekit".
        vertices: about how many vertices to keep (8,000 in the benchmark).
        store: where to look for the entry.

    Raises:
        WeightsMissing: no path was given and the store does not have the entry.
        InputError: the path holds no such model.
    """

    name = "ict"
    blink_closes = 1.08  # the mean head's own eyeBlink leaves a slit at the inner corner

    def __init__(
        self, path: Path | str | None = None, *, vertices: int = 8000, store: WeightStore | None = None
    ) -> None:
        source = Path(path) if path is not None else (store or WeightStore()).path("ict_facekit")
        super().__init__(simplified(source, vertices))


def simplified(source: Path, vertices: int) -> HeadArrays:
    """Arrays of the thinned-out head, from the cache where they are."""
    if not source.exists():
        raise InputError(
            f"{source}: no such file; the ict head needs ict_facekit.npz or ICT-FaceKit's FaceXModel folder"
        )
    key = file_sha256(source)[:16] if source.is_file() else f"obj-{_folder_stamp(source)}"
    cached = cache_folder() / "morphable" / f"ict_{key}_{vertices}_v{VERSION}.npz"
    arrays = _read(cached)
    if arrays is None:
        arrays = build(read_source(source), vertices)
        _write(cached, arrays)
    return arrays


def _folder_stamp(folder: Path) -> str:
    text = "".join(f"{p.name}:{p.stat().st_size}:{p.stat().st_mtime_ns};" for p in sorted(folder.glob("*.obj")))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> HeadArrays | None:
    """Arrays of a cache file; None where it is absent or damaged (it is then made anew)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return HeadArrays.fromdict({name: file[name] for name in file.files})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, arrays: HeadArrays) -> None:
    """Whole or not at all: written beside the target, then renamed; a cache that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}_", suffix=".npz")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays.asdict())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

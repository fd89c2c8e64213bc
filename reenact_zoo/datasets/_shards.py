"""The files of prepared data: tar shards that stream, and one index that finds any frame in them.

``shard-00000.tar`` … are WebDataset shards. A sample is one clip; its members are called ``<clip number>.<part>``:

    00000012.json             name, identity, split, frame rate … of the clip
    00000012.0000.jpg …       its frames (or .png)
    00000012.0000.parsing.png annotations that are pictures, one per frame; an empty member where no face was found
    00000012.landmarks.npy    annotations that are numbers, (T, …); rows of NaN where no face was found

``index.parquet`` has a row per clip with its place, sha256, and the place of every member of its own; its metadata says
how the data was made. Times and owners in the shards are zero, so that equal input gives equal bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reenact_zoo.types import InputError

FORMAT = 1
INDEX = "index.parquet"
ABOUT = b"reenact_zoo"
"""Key of the index's metadata under which JSON says how the data was made."""
PICTURES = ("parsing", "matte")
"""Annotations that are kept as pictures; all others are arrays."""
PARSING_CLASSES = 19
END = bytes(1024)  # of a tar file

Place = tuple[int, int]  # offset of a member's content, and its bytes


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.tar"


def frame_suffix(codec: str) -> str:
    """Of a frame's member."""
    return {"jpeg": "jpg", "png": "png"}[codec]


class Members:
    """Tar members one after the other, without the end of the archive.

    Attributes:
        data: what they are as bytes, headers included.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def data(self) -> bytes:
        """All bytes so far."""
        return b"".join(self._parts)

    def add(self, name: str, content: bytes) -> Place:
        """Append a member; its content's place, counted from the first header."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(content), 0o644, 0
        header = info.tobuf(tarfile.USTAR_FORMAT)
        place = self._size + len(header), len(content)
        padding = bytes(-len(content) % tarfile.BLOCKSIZE)
        self._parts += [header, content, padding]
        self._size += len(header) + len(content) + len(padding)
        return place


# --- contents -------------------------------------------------------------------------------------------------------


def encode_frame(image: NDArray[np.uint8], codec: str, quality: int) -> bytes:
    """(H, W, 3) RGB → JPEG of that quality without chroma subsampling, or PNG."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    if codec == "png":
        return bytes(cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1])
    full = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality, *full])[1])


def decode_frame(content: bytes) -> NDArray[np.uint8]:
    """Inverse of ``encode_frame``; ValueError where it is no picture."""
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if bgr is None:
        raise ValueError("not a picture")
    return np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8, copy=False)


def encode_picture(name: str, values: NDArray[np.float32]) -> bytes:
    """Parsing (19, H, W) as its most probable classes, or a matte (1, H, W) in 256 steps; NaN becomes b""."""
    if not np.isfinite(values).all():
        return b""
    grey = values.argmax(0).astype(np.uint8) if name == "parsing" else np.rint(values[0].clip(0, 1) * 255)
    return bytes(cv2.imencode(".png", grey.astype(np.uint8))[1])


def decode_picture(name: str, content: bytes, size: int) -> NDArray[np.float32]:
    """Inverse of ``encode_picture``: parsing (19, H, W) of zeros and ones, matte (1, H, W) in [0, 1], or NaN."""
    if not content:
        return np.full((PARSING_CLASSES if name == "parsing" else 1, size, size), np.nan, np.float32)
    grey = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise ValueError("not a picture")
    if name == "parsing":
        return (grey[None] == np.arange(PARSING_CLASSES)[:, None, None]).astype(np.float32)
    return np.asarray(grey[None] / 255, np.float32)


def encode_array(values: NDArray[np.float32]) -> bytes:
    """Numbers of all frames, (T, …), as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, np.float32), allow_pickle=False)
    return buffer.getvalue()


def decode_array(content: bytes) -> NDArray[np.float32]:
    """Inverse of ``encode_array``."""
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), np.float32)


# --- index ----------------------------------------------------------------------------------------------------------

_COLUMNS = {
    "clip": pa.string(),
    "identity": pa.string(),
    "split": pa.string(),
    "people": pa.list_(pa.string()),  # of manipulated clips: target, source
    "unknown": pa.list_(pa.string()),  # what the dataset cannot know about the clip
    "frames": pa.int32(),
    "frame_rate": pa.string(),  # "25", "24000/1001", "" for stills
    "source_frames": pa.list_(pa.int32()),  # number of each frame in the clip it was taken from
    "source_size": pa.list_(pa.int32()),  # width, height
    "box_policy": pa.string(),
    "box": pa.list_(pa.float64()),  # left, top, right, bottom of the square cut out, px of the source
    "tracked": pa.int32(),  # frames in which the face was found; -1 where nobody looked
    "shard": pa.string(),
    "offset": pa.int64(),  # of the clip in its shard
    "size": pa.int64(),
    "sha256": pa.string(),  # of these bytes
    "frame_offsets": pa.list_(pa.int64()),  # from the clip's offset
    "frame_sizes": pa.list_(pa.int32()),
    "error": pa.string(),  # why the clip is not there; "" where it is
}


def schema(annotations: Sequence[str], about: Mapping[str, Any]) -> pa.Schema:
    """Of the index: the columns above, and the places of each annotation's members."""
    fields = dict(_COLUMNS)
    for name in annotations:
        fields[f"{name}_offsets"] = pa.list_(pa.int64())  # one per frame (pictures), or one (arrays)
        fields[f"{name}_sizes"] = pa.list_(pa.int32())
    return pa.schema(list(fields.items()), metadata={ABOUT: json.dumps(about, sort_keys=True).encode()})


def write_index(path: Path, rows: Sequence[Mapping[str, Any]], annotations: Sequence[str], about: Any) -> None:
    """Rows in the order given; cells that a row lacks are null."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema(annotations, about))
    pq.write_table(table, path, compression="zstd")


def read_index(root: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The index of prepared data and how that was made.

    Raises:
        InputError: there is none, it is damaged, or of another format.
    """
    path = root / INDEX
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[ABOUT])
        written = about["format"]
    except FileNotFoundError as error:
        raise InputError(
            f"'{root}' has no {INDEX}; make it with 'reenact-zoo data prepare', or let that finish"
        ) from error
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise InputError(f"'{path}' is damaged or no index of prepared data; copy it again") from error
    if written != FORMAT:
        raise InputError(f"'{path}' has format {written}, this version reads {FORMAT}; prepare the data again")
    return table, about

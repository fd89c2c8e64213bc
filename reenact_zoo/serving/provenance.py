"""What a made image or video says about itself: in its own metadata, and in a JSON file beside it.

Metadata travels with the file but is lost when somebody re-encodes it; the sidecar holds more (hashes, the status of
every frame, the consent text). Neither is a signature: both can be removed or forged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reenact_zoo
from reenact_zoo.types import InputError
from reenact_zoo.video.images import frame_paths
from reenact_zoo.video.write import read_metadata, write_text

TOOL = "reenact_zoo"
PREFIX = "reenact_zoo_"
FORMAT = 1


@dataclass(frozen=True)
class Provenance:
    """What a file and its sidecar say.

    Attributes:
        metadata: the entries ``describe`` wrote, without prefix; {} when the file carries none.
        sidecar: content of the JSON file; None where there is none.
        output_matches: whether the file still has the hash that the sidecar states; None without a sidecar.
    """

    metadata: dict[str, str]
    sidecar: dict[str, Any] | None
    output_matches: bool | None


def describe(
    *,
    method: str,
    weights_sha256: str,
    source_sha256: str,
    driving_sha256: str,
    consent: str,
) -> dict[str, str]:
    """Entries for the container's metadata; ``comment`` and ``description`` are what players and editors show."""
    version = reenact_zoo.__version__
    text = f"Synthetic media: face reenactment made with {TOOL} {version}, method {method}"
    return {
        "comment": text,
        "description": text,
        f"{PREFIX}synthetic": "true",
        f"{PREFIX}tool": TOOL,
        f"{PREFIX}version": version,
        f"{PREFIX}method": method,
        f"{PREFIX}weights_sha256": weights_sha256,
        f"{PREFIX}source_sha256": source_sha256,
        f"{PREFIX}driving_sha256": driving_sha256,
        f"{PREFIX}consent": consent or "not stated",
    }


def sidecar_path(output: Path) -> Path:
    """result.mp4 → result.mp4.json; a folder of frames gets its file beside it."""
    return output.with_name(f"{output.name}.json")


def write_sidecar(output: Path, content: Mapping[str, Any]) -> Path:
    """Write the JSON beside ``output``, with tool, version, and the output's name and hash added.

    Raises:
        InputError: not writable, disk full.
    """
    path = sidecar_path(output)
    whole = {
        "format": FORMAT,
        "synthetic": True,
        "tool": TOOL,
        "version": reenact_zoo.__version__,
        "output": {"name": output.name, "sha256": content_sha256(output)},
        **content,
    }
    write_text(path, json.dumps(whole, ensure_ascii=False, indent=1) + "\n")
    return path


def read_provenance(path: str | Path) -> Provenance:
    """What ``path`` (video, image, or folder of frames) and the sidecar beside it say.

    Raises:
        InputError: unreadable file, or a sidecar that is not JSON.
    """
    path = Path(path)
    found = read_metadata(frame_paths(path)[0] if path.is_dir() else path)
    metadata = {key.removeprefix(PREFIX): value for key, value in found.items() if key.startswith(PREFIX)}
    beside = sidecar_path(path)
    if not beside.is_file():
        return Provenance(metadata, None, None)
    try:
        sidecar = json.loads(beside.read_text(encoding="utf-8"))
        stated = sidecar["output"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{beside}' is not a sidecar of {TOOL}; delete it or restore the original") from error
    return Provenance(metadata, sidecar, content_sha256(path) == stated)


def content_sha256(path: Path) -> str:
    """Hex sha256 of a file; of a folder, over the names and hashes of its frames in natural order."""
    if not path.is_dir():
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"'{path}' cannot be read ({error.strerror})") from error
    lines = [f"{content_sha256(frame)}  {frame.name}\n" for frame in frame_paths(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()

"""How people hold VoxCeleb: four layouts, each found by names alone.

fomm             {train,test}/<id>#<video>#<start>#<end>.mp4, a file, or a folder of frames with or without ".mp4"
                 (video-preprocessing; its crop_vox.py writes <id>#<video>#<utterance>.txt#<number>.mp4)
official         [{dev,test}/][mp4/]<id>/<video>/<utterance>.mp4
faces            unzippedFaces/<Name>/1.6/<video>/<frame>.jpg, one frame a second
interval_faces   unzippedIntervalFaces/data/<Name>/1.6/<video>/<utterance>/<frame>.jpg
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reenact_zoo.datasets._files import entries, has_frames, media, stem
from reenact_zoo.types import InputError

META = "vox1_meta.csv"
METADATA = "vox-metadata.csv"
FOMM = re.compile(r"(?P<who>[^#]+)#(?P<video>[^#]+)#(?P<start>[0-9]+)#(?P<end>[0-9]+)")
CROP_VOX = re.compile(r"(?P<who>[^#]+)#(?P<video>[^#]+)#[^#]+\.txt#[0-9]+")
CODE = re.compile(r"id[0-9]{5}")
SECTIONS = {"train": "train", "dev": "train", "val": "val", "test": "test"}


@dataclass(frozen=True)
class Place:
    """A clip where it lies.

    Attributes:
        path: file or frame folder.
        name: unique in the dataset, without split folder and suffix.
        who: code or name of the person, as the tree gives it.
        section: "train", "val" or "test" by the folder above; "" without one.
        stated_frames: length by the name; None where it does not tell.
    """

    path: Path
    name: str
    who: str
    section: str = ""
    stated_frames: int | None = None


def _sections(root: Path) -> list[tuple[str, Path]]:
    return [*((split, root / name) for name, split in SECTIONS.items() if (root / name).is_dir()), ("", root)]


def _fomm(root: Path) -> Iterator[Place]:
    for section, folder in _sections(root):
        for path in media(folder):
            name = stem(path)
            if match := FOMM.fullmatch(name):
                yield Place(path, name, match["who"], section, int(match["end"]) - int(match["start"]))
            elif match := CROP_VOX.fullmatch(name):
                yield Place(path, name, match["who"], section)


def _official(root: Path) -> Iterator[Place]:
    for section, folder in _sections(root):
        people = [path for base in (folder / "mp4", folder) for path in entries(base) if CODE.fullmatch(path.name)]
        for person in people:
            for video in entries(person):
                for path in media(video):
                    yield Place(path, f"{person.name}/{video.name}/{stem(path)}", person.name, section)


def _faces(root: Path) -> Iterator[Place]:
    base = root if root.name == "unzippedFaces" else root / "unzippedFaces"
    for person, video in _stills(base):
        if has_frames(video):
            yield Place(video, f"{person.name}/{video.name}", person.name)


def _interval_faces(root: Path) -> Iterator[Place]:
    base = root if root.name == "unzippedIntervalFaces" else root / "unzippedIntervalFaces"
    for person, video in _stills(base / "data" if (base / "data").is_dir() else base):
        for utterance in entries(video):
            if has_frames(utterance):
                yield Place(utterance, f"{person.name}/{video.name}/{utterance.name}", person.name)


def _stills(base: Path) -> Iterator[tuple[Path, Path]]:
    """(person, video) folders; between them lies one that is called by the scale of the crop."""
    for person in entries(base):
        for scale in entries(person):
            if re.fullmatch(r"[0-9]+\.[0-9]+", scale.name):
                yield from ((person, video) for video in entries(scale))


LAYOUTS = {"fomm": _fomm, "official": _official, "faces": _faces, "interval_faces": _interval_faces}


def layouts(root: Path) -> list[str]:
    """Those of which there is at least one clip."""
    return [name for name, find in LAYOUTS.items() if next(find(root), None) is not None]


def codes(path: Path) -> Mapping[str, str]:
    """Name → code from ``vox1_meta.csv``, which is separated by tabs; names are compared by ``plain``.

    Raises:
        InputError: unreadable, or without its columns.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"voxceleb: cannot read '{path}' ({error})") from error
    separator = "\t" if "\t" in text.partition("\n")[0] else ","
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=separator) if row]
    header = [name.casefold() for name in rows[0]] if rows else []
    if "voxceleb1 id" not in header or "vggface1 id" not in header:
        raise InputError(f"voxceleb: '{path}' has no columns 'VoxCeleb1 ID' and 'VGGFace1 ID'; get the official file")
    code, name = header.index("voxceleb1 id"), header.index("vggface1 id")
    return {plain(row[name]): row[code] for row in rows[1:] if len(row) > max(code, name)}


def plain(name: str) -> str:
    """A name as far as the list and the folders agree: some end in a dot in one of them only, or differ in case."""
    return name.rstrip(".").casefold()


def boxes(path: Path) -> Mapping[str, float]:
    """Clip name of layout fomm → width / height of its box, from ``vox-metadata.csv``.

    Raises:
        InputError: unreadable, or a row that is not one of this list.
    """
    found: dict[str, float] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            for row in reader:
                left, top, right, bottom = (int(side) for side in row["bbox"].split("-"))
                name = f"{row['person_id']}#{row['video_id']}#{int(row['start']):06d}#{int(row['end']):06d}"
                found[name] = (right - left) / (bottom - top)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"voxceleb: cannot read '{path}' ({error})") from error
    except (KeyError, ValueError, AttributeError, TypeError, ZeroDivisionError) as error:
        raise InputError(f"voxceleb: '{path}', line {reader.line_num}: not a row of {METADATA} ({error})") from error
    return found

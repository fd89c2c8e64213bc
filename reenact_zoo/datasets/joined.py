"""Several datasets as one, for pairs whose source and driving frame are from different ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from reenact_zoo.datasets.base import Clip, ClipDataset, FrameRef
from reenact_zoo.registry import DATASETS, nearest
from reenact_zoo.types import InputError


@dataclass
class JoinedConfig:
    """What is joined.

    Attributes:
        root: a folder with one folder, or link to one, for each part, called like the part.
        parts: registered names, each with the fields of its own Config; "root" there takes the place of the folder.
    """

    root: str = ""
    parts: dict[str, Any] = field(default_factory=dict)


class Joined(ClipDataset):
    """Clips and identities carry their part's name in front: "ffpp:youtube/071" shows "ffpp:071"."""

    Config = JoinedConfig

    def __init__(self, config: JoinedConfig | None = None) -> None:
        self.config = config or JoinedConfig()
        if not self.config.parts:
            raise InputError("joined: no parts given; name the datasets that are joined, each with its fields")
        self.root = Path(self.config.root).expanduser()
        self._parts = {name: self._part(name, dict(fields or {})) for name, fields in self.config.parts.items()}

    def _part(self, name: str, fields: dict[str, Any]) -> ClipDataset:
        cls = DATASETS.get(name)
        known = cls.Config.__dataclass_fields__
        if unknown := sorted(fields.keys() - known.keys()):
            raise InputError(f"joined: '{name}' has no field '{unknown[0]}'; {nearest(unknown[0], known)}")
        if "root" in known and not fields.get("root"):
            folder = self.root / name
            if not self.config.root or not folder.is_dir():
                raise InputError(
                    f"joined: '{folder}' is missing; give a root with a folder (or link) for each of "
                    f"{', '.join(self.config.parts)}"
                )
            fields["root"] = str(folder)
        return cast(ClipDataset, cls(cls.Config(**fields)))

    @cached_property
    def clips(self) -> Sequence[Clip]:
        """Part after part, each in its own order."""
        return [
            replace(
                clip,
                name=f"{part}:{clip.name}",
                identity=f"{part}:{clip.identity}",
                people=tuple(f"{part}:{who}" for who in clip.people),
            )
            for part, dataset in self._parts.items()
            for clip in dataset.clips
        ]

    def frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        """(H, W, 3) RGB of the part's frame."""
        dataset, inner = self._inner(ref)
        return dataset.frame(inner)

    def annotations(self, ref: FrameRef) -> Mapping[str, NDArray[Any]]:
        """What the part knows."""
        dataset, inner = self._inner(ref)
        return dataset.annotations(inner)

    def _inner(self, ref: FrameRef) -> tuple[ClipDataset, FrameRef]:
        part, _, name = ref.clip.partition(":")
        if part not in self._parts or not name:
            raise InputError(f"joined: no clip '{ref.clip}'; names begin with one of {', '.join(self._parts)} and ':'")
        return self._parts[part], FrameRef(name, ref.index)

"""What keeps a published number from being measured here, and what a user can do about it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from reenact_zoo.consent import TERMS
from reenact_zoo.evaluation.paper import PaperColumn, PaperRow, PaperSetting
from reenact_zoo.evaluation.protocol import Protocol, load_protocol
from reenact_zoo.registry import DATASETS, METHODS, METRICS
from reenact_zoo.types import InputError


class Lacking:
    """Answers for the cells of one table; every method, metric and protocol is looked at once.

    Args:
        measurer: ``faces.measure.FaceMeasurer``, which knows the weights of instruments.
        folder: of records, for the command that would fill it.
    """

    def __init__(self, measurer: Any, folder: Path | None = None) -> None:
        self._measurer, self._folder = measurer, folder
        self.protocol = cache(load_protocol)
        self._metric_needs, self._method_needs = cache(self._of_metric), cache(self._of_method)

    def reasons(self, row: PaperRow, setting: PaperSetting, column: PaperColumn) -> tuple[str, ...]:
        """Why there is no record of this cell, sentence by sentence, the last one the command that would make it.

        What this version does not have comes alone: nothing the user has would help.
        """
        assert row.method is not None
        assert setting.protocol is not None
        protocol = self.protocol(setting.protocol)
        absent = self._absent(row.method, column.metric, protocol)
        if absent:
            return tuple(absent)
        needs = [
            *self._method_needs(row.method, protocol.resolution),
            *(self._metric_needs(column.metric) if column.metric else ()),
            *_of_data(protocol),
        ]
        return (*needs, self._command(row, protocol))

    def _absent(self, method: str, metric: str | None, protocol: Protocol) -> list[str]:
        absent = []
        if method not in METHODS.names():
            absent.append(f"method '{method}' is not in this version")
        if metric is not None and metric not in METRICS.names():
            absent.append(f"metric '{metric}' is not in this version")
        elif metric is not None and metric not in protocol.metrics:
            absent.append(f"protocol '{protocol.name}' v{protocol.version} does not measure '{metric}'")
        return absent

    def _of_metric(self, name: str) -> tuple[str, ...]:
        lack = METRICS.get(name)(self._measurer).missing()
        return (f"metric '{name}' needs {lack}; `reenact-zoo weights show NAME` says how to get them",) if lack else ()

    def _of_method(self, name: str, size: int) -> tuple[str, ...]:
        cls = METHODS.get(name)
        if not cls.trainable:
            return ()
        try:
            cls.ready(None, size)
        except InputError as error:
            return (str(error),)
        return ()

    def _command(self, row: PaperRow, protocol: Protocol) -> str:
        root = " --root FOLDER" if _needs_root(protocol) else ""
        config = ", ".join(f"{key} = {value}" for key, value in row.config.items())
        which = f" (trained with {config})" if config else ""
        return (
            f"no record: run `reenact-zoo evaluate {row.method} {protocol.name}{root} "
            f"--out {self._folder or 'FOLDER'}`{which}"
        )


def _needs_root(protocol: Protocol) -> bool:
    return "root" in DATASETS.get(protocol.dataset.name).Config.__dataclass_fields__


def _of_data(protocol: Protocol) -> tuple[str, ...]:
    """What a user has to fetch, where to get it, and how it has to lie."""
    if not _needs_root(protocol):
        return ()
    parts = list(protocol.dataset.config.get("parts") or [])
    found = [_from_makers(name) for name in parts or [protocol.dataset.name]]
    if parts:
        found.append(f"--root takes one folder with a folder or link in it for each of {', '.join(parts)}")
    return tuple(found)


def _from_makers(name: str) -> str:
    if name not in TERMS:
        return f"data set '{name}': give a folder of your own with --root"
    return (
        f"data set '{name}': its makers give it to people who accept the terms ({TERMS[name].address}); then "
        f"`reenact-zoo data accept-terms {name} FOLDER` and `reenact-zoo data check FOLDER`"
    )

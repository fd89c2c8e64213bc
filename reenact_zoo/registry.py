"""Name → class, lazily: by file name inside a package, then by entry point, then by an explicit ``module:Class``."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from reenact_zoo.types import InputError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Sentence that ends an error about an unknown name: the nearest known one, else all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known) or 'none'}"


class Registry(Generic[T]):
    """Finds the classes of one kind without importing those that nobody asked for.

    A file or folder ``<package>/<name>`` holds exactly one public subclass of ``base`` (a folder keeps it in
    ``module.py``); files named base.py or beginning with an underscore hold none. Listing names imports no plug-in.

    Args:
        kind: what a user calls such a thing, for messages: "method", "metric", "dataset".
        package: dotted name that is scanned, and at the same time the entry-point group for third parties.
        base: "module:Class" of the base class, as text so that the registry stays on the ground floor.
    """

    def __init__(self, kind: str, package: str, base: str) -> None:
        self.kind, self.package, self._base = kind, package, base

    def names(self) -> list[str]:
        """Registered names, sorted: files of the package first in case of a clash with an entry point."""
        return sorted({*self._files(), *(e.name for e in entry_points(group=self.package))})

    def get(self, name: str) -> type[T]:
        """Class registered under ``name``, or named by "module:Class".

        Raises:
            InputError: unknown name (the nearest known one is suggested), or a class of the wrong kind.
        """
        if ":" in name:
            return self._checked(name, self._load(name))
        if name in self._files():
            return self._from_file(name)
        for entry in entry_points(group=self.package):
            if entry.name == name:
                return self._checked(name, entry.load())
        raise InputError(f"unknown {self.kind} '{name}'; {nearest(name, self.names())}")

    def _files(self) -> list[str]:
        spec = importlib.util.find_spec(self.package)
        paths = spec.submodule_search_locations if spec else None
        found = (m.name for m in pkgutil.iter_modules(paths))
        return [name for name in found if name != "base" and not name.startswith("_")]

    def _from_file(self, name: str) -> type[T]:
        module = importlib.import_module(f"{self.package}.{name}")
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"{self.package}.{name}.module")
        base = self._load(self._base)
        own = [
            cast("type[T]", cls)
            for cls in vars(module).values()
            if inspect.isclass(cls)
            and issubclass(cls, base)
            and cls.__module__ == module.__name__
            and not cls.__name__.startswith("_")
        ]
        if len(own) != 1:
            raise TypeError(f"{module.__name__} must define exactly one public {base.__name__}, found {len(own)}")
        return own[0]

    def _checked(self, name: str, cls: Any) -> type[T]:
        base = self._load(self._base)
        if not (inspect.isclass(cls) and issubclass(cls, base)):
            raise InputError(f"'{name}' is not a {self.kind}: it must be a subclass of {base.__name__}")
        return cast("type[T]", cls)

    @staticmethod
    def _load(spec: str) -> Any:
        module, _, attribute = spec.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InputError(f"cannot load '{spec}': {error}") from error


METHODS: Registry[Any] = Registry("method", "reenact_zoo.methods", "reenact_zoo.methods.base:ReenactmentModule")
DATASETS: Registry[Any] = Registry("dataset", "reenact_zoo.datasets", "reenact_zoo.datasets.base:ClipDataset")
METRICS: Registry[Any] = Registry("metric", "reenact_zoo.metrics", "reenact_zoo.metrics.base:ReenactmentMetric")

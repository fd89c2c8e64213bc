"""One-shot face reenactment: many methods, one interface, measured on the same pairs."""

from importlib.metadata import version

__version__ = version("reenact_zoo")

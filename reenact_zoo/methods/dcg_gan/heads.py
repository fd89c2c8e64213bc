"""Which head draws the proxies: FLAME where it is at hand or asked for, else one that ships with the package."""

from __future__ import annotations

import torch

from reenact_zoo.methods.dcg_gan.config import Config
from reenact_zoo.methods.dcg_gan.flame_proxies import FlameDrawer, FlameFiles
from reenact_zoo.methods.dcg_gan.proxies import Drawer, ProxyEditor, SyntheticDrawer, say_once
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightStore


def chosen_head(config: Config, store: WeightStore | None = None) -> str:
    """Name of the head that ``config`` means here; where "auto" does not find FLAME, that is said once.

    Raises:
        InputError: FLAME is asked for and cannot be used: names file, licence, and where to register.
    """
    if config.head not in ("auto", "flame"):
        return config.head
    lacking = _files(config).lacking(store or WeightStore())
    if lacking is None:
        return "flame"
    if config.head == "flame":
        raise InputError(f"dcg_gan: head 'flame' needs {lacking}")
    say_once(
        "dcg_gan: proxies are drawn with the bundled head and encoder, since FLAME or DECA is not at hand "
        "(head=flame says what is missing, head=bundled says nothing)"
    )
    return "bundled"


def proxy_editor(config: Config, device: torch.device, store: WeightStore | None = None) -> ProxyEditor:
    """The editor for a configuration whose head is chosen; see ``Config.head``.

    Raises:
        InputError: a file of the head or of its encoder is missing.
    """
    drawer: Drawer
    if config.head == "flame":
        drawer = FlameDrawer(_files(config), config.image_size, store, device)
    else:
        given = config.training_coefficients == "given"
        drawer = SyntheticDrawer(config.head, config.image_size, store, device, from_full=given)
    return ProxyEditor(drawer, config.image_size, config.place_by_landmarks)


def _files(config: Config) -> FlameFiles:
    return FlameFiles(config.flame_model, config.flame_landmarks, config.flame_texture)

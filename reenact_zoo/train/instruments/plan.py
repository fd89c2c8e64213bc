"""The whole of it: which worlds are rendered, which networks are trained on them, in which order and for how long."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from reenact_zoo.datasets.synthetic import Synthetic, SyntheticConfig
from reenact_zoo.train.instruments.cards import bfloat16_agreement, export, write_card
from reenact_zoo.train.instruments.coefficients import Coefficients
from reenact_zoo.train.instruments.features import Features
from reenact_zoo.train.instruments.held_out import CLIPS, FRAMES, held_out
from reenact_zoo.train.instruments.identity import IdentityJudge, IdentityTrain
from reenact_zoo.train.instruments.landmarks import Landmarks
from reenact_zoo.train.instruments.motion import MotionJudge, MotionTrain
from reenact_zoo.train.instruments.parsing import Parsing
from reenact_zoo.train.instruments.renders import SCENES, World, WorldCache, scenes
from reenact_zoo.train.instruments.task import Task
from reenact_zoo.train.instruments.training import train

# judges first: they matter most should a run be cut short
TASKS: tuple[type[Task], ...] = (
    IdentityJudge,
    MotionJudge,
    IdentityTrain,
    MotionTrain,
    Coefficients,
    Landmarks,
    Parsing,
    Features,
)
TASK_OF = {task.name: task for task in TASKS}
TREES = "synthetic_landmarks_68"
NAMES = (*TASK_OF, TREES)
WORLD_SEEDS = {"train": 101, "judge": 202}  # neither is world 0, whose people the methods and the benchmark see


@dataclass(frozen=True)
class Settings:
    """What a run is made of; goes into every card.

    Attributes:
        head: head model of the renders.
        people: by world.
        frames: pictures of each person.
        held_out_people: of world 0's validation people.
        minutes: of training for an average network, on one thread.
        seed: networks of the train side begin here, judges a thousand later.
        max_updates, batch_size: in place of minutes and of the tasks' own, for tests.
        scenes: backgrounds.
        reduced: whether coefficients are made; synthetic_coefficients needs them.
    """

    head: str = "ict"
    people: int = 610
    frames: int = 12
    held_out_people: int = 60
    minutes: float = 6.8
    seed: int = 0
    max_updates: int | None = None
    batch_size: int | None = None
    reduced: bool = True
    scenes: int = SCENES

    def world(self, role: str) -> World:
        """The world whose people ``role`` sees."""
        return World(WORLD_SEEDS[role], self.people, self.frames, self.head, self.reduced)


def render(settings: Settings, role: str, part: int, parts: int, until: float) -> None:
    """One process's part of a world; part 0 also makes the scenes."""
    torch.set_num_threads(1)
    cache = WorldCache(settings.world(role))
    if part == 0:
        scenes(cache.folder.parent, settings.scenes)
    cache.render(part, parts, until)


def train_network(name: str, settings: Settings, out: Path, command: str, say: Callable[[str], None] = print) -> None:
    """Train one network on what is rendered, judge it, and write file and card."""
    torch.set_num_threads(1)
    kind = TASK_OF[name]
    cache = WorldCache(settings.world(kind.world))
    records = cache.load()
    backgrounds = scenes(cache.folder.parent, settings.scenes)
    head = Synthetic(SyntheticConfig(head=settings.head)).head
    seed = settings.seed + (1000 if kind.world == "judge" else 0) + 10 * list(TASK_OF).index(name)
    task = kind(records, backgrounds, head, seed)
    if settings.batch_size is not None:
        task.batch_size = settings.batch_size  # type: ignore[misc]
    key = f"{cache.digest} {len(records['person'])} {asdict(settings)} {kind.share}"
    checkpoint = cache.folder.parent / "checkpoints" / f"{name}.pt"
    seconds = math.inf if settings.max_updates is not None else 60 * settings.minutes * kind.share
    progress = train(task, seconds, checkpoint, key, say, settings.max_updates)
    task.network = export(task.network, out / f"{name}.safetensors")
    judged = held_out(settings.head, settings.held_out_people, settings.reduced)
    crops = judged.picture(64)[:64]
    started = time.monotonic()
    facts: dict[str, Any] = {
        "command": command,
        "trained_on": (
            f"{len(records['person'])} renders of {int(records['person'].max()) + 1} people of world "
            f"{settings.world(kind.world).seed}, head model '{settings.head}'; no real face"
        ),
        "seed": seed,
        "updates": progress.updates,
        "images_seen": progress.images,
        "training_seconds_on_one_thread": round(progress.seconds),
        "held_out": {
            "people": f"{settings.held_out_people} validation people of world 0, seen by no bundled network",
            "frames": f"{CLIPS} clips of {FRAMES} frames each, landmarks true unless said otherwise",
            **task.held_out(judged),
        },
        "bfloat16_difference": bfloat16_agreement(task.network, crops),
        "losses": {"first": progress.history[0], "last": progress.history[-1]} if progress.history else {},
    }
    write_card(out / f"{name}.safetensors", task, facts)
    say(f"{name}: done; judged in {time.monotonic() - started:.0f} s")

"""Landmarks seen so far: LD-Net learns from far more faces per update than the one batch of pictures holds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class LandmarkMemory:
    """The latest landmarks with the numbers of their people. Random numbers come from torch's generator.

    Args:
        capacity: faces kept; the oldest go first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity, self._count, self._next = capacity, 0, 0
        self._points = torch.zeros(0, 68, 2)
        self._people = torch.zeros(0, dtype=torch.int64)

    def __len__(self) -> int:
        return self._count

    def add(self, landmarks: Tensor, people: Tensor) -> None:
        """Keep landmarks (B, 68, 2), all finite, of people (B,) int64."""
        if len(self._points) < self._capacity:  # not before there is something to keep
            self._points = torch.zeros(self._capacity, 68, 2)
            self._people = torch.zeros(self._capacity, dtype=torch.int64)
        landmarks, people = landmarks[-self._capacity :], people[-self._capacity :]
        rows = (self._next + torch.arange(len(people))) % self._capacity
        self._points[rows], self._people[rows] = landmarks.detach().float().cpu(), people.cpu()
        self._next = (self._next + len(people)) % self._capacity
        self._count = min(self._capacity, self._count + len(people))

    def everything(self) -> tuple[Tensor, Tensor]:
        """All that is remembered: landmarks (M, 68, 2) and people (M,)."""
        return self._points[: self._count], self._people[: self._count]

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """``count`` faces (count, 68, 2) and their people (count,); the same may come twice."""
        rows = torch.randint(self._count, (count,))
        return self._points[rows], self._people[rows]

    def draw_pairs(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Two faces each of ``count`` people: (count, 68, 2), (count, 68, 2), (count,).

        Both are the same picture for a person of whom only one is known, and now and then by chance.
        """
        rows = torch.randint(self._count, (count,))
        people = self._people[rows]
        by_person, order = self._people[: self._count].sort(stable=True)
        first = torch.searchsorted(by_person, people)
        known = torch.searchsorted(by_person, people, right=True) - first
        partners = order[first + torch.minimum((torch.rand(count) * known).long(), known - 1)]
        return self._points[rows], self._points[partners], people

    def state(self) -> dict[str, Any]:
        """What ``load`` needs; plain containers."""
        points, people = self._points[: self._count].clone(), self._people[: self._count].clone()
        return {"points": points, "people": people, "next": self._next}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` of a memory of the same capacity returned."""
        self._count = self._next = 0
        self.add(state["points"], state["people"])
        self._next = int(state["next"])

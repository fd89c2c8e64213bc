"""Which part of a run this process does, where several do it together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast

import torch.distributed as dist

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Place among equal processes.

    Attributes:
        rank: from 0 on.
        processes: how many there are.
    """

    rank: int = 0
    processes: int = 1

    @classmethod
    def of_this_process(cls) -> Self:
        """In the process group where there is one; alone otherwise."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this process writes what all of them share."""
        return self.rank == 0

    def own(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every ``processes``-th item, from this process's place on."""
        return items[self.rank :: self.processes]

    def gather(self, mine: Item) -> list[Item]:
        """What each process has, in their order."""
        if self.processes == 1:
            return [mine]
        everybody: list[Any] = [None] * self.processes
        dist.all_gather_object(everybody, mine)
        return cast("list[Item]", everybody)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.processes > 1:
            dist.barrier()

"""A slot whose job is shared by a team: an actor without resources of its own that waits for the members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import ray

from ast_ray.distributed.group import Together
from ast_ray.distributed.session import Capacity
from ast_ray.distributed.slots import ActorSlot
from ast_ray.distributed.team_plan import TeamPlan


class TeamSlot:
    """Runs one shared job at a time; members live as long as the job, and end with the waiting actor."""

    def __init__(self, plan: TeamPlan, backend: Literal["actors", "train"]) -> None:
        self._plan, self._backend = plan, backend
        self._waits = ActorSlot(Capacity(0.0, 0.0, 1))

    def start(self, function: Callable[..., Any], job: Any, sink: Any) -> ray.ObjectRef[Any]:
        """See `Slot.start`; the function takes the team as its third argument."""
        if self._backend == "train":
            from ast_ray.distributed.trained import Trained  # a second to import

            return self._waits.start(Trained(function, self._plan), job, sink)
        return self._waits.start(Together(function, self._plan), job, sink)

    def renew(self) -> None:
        """A fresh waiting actor, and with it fresh members."""
        self._waits.renew()

    def close(self) -> None:
        """End the waiting actor; its members end with it."""
        self._waits.close()

"""The plan of a team: its size, the resources of a member, the back end, and the return of what was reserved."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ray.util.placement_group import get_placement_group, placement_group_table, remove_placement_group

from ast_ray.ray_backend.session import Capacity


@dataclass(frozen=True)
class TeamPlan:
    """Members wanted, what each takes, whether they lie close together or apart, and whose the room is (see `free`)."""

    members: int
    cpus: float
    gpus: float
    strategy: Literal["PACK", "SPREAD"] = "PACK"
    owner: str = "team"


def team_size(plan: TeamPlan, resources: dict[str, float]) -> int:
    """Members that fit into the cluster, at least one; no more than finish in as many rounds as the fewest would."""
    fitting = int(resources.get("CPU", 0) / plan.cpus)
    if plan.gpus:
        fitting = min(fitting, int(resources.get("GPU", 0) / plan.gpus))
    fitting = max(1, min(plan.members, fitting))
    rounds = -(-plan.members // fitting)
    return -(-plan.members // rounds)


def free(owner: str) -> None:
    """Give back the placement groups of a process that is gone.

    Ray gives a placement group back when the job of its maker ends, not when its maker does. Until then the group holds
    its places; and where a machine of it was lost too, Ray tries without pause to place it again and hardly places any
    other (https://github.com/ray-project/ray/pull/65007).
    """
    for entry in placement_group_table().values():
        if entry["name"].startswith(f"{owner}-") and entry["state"] != "REMOVED":
            with contextlib.suppress(ValueError):  # it is gone since
                remove_placement_group(get_placement_group(entry["name"]))


def shared_work(
    function: Callable[..., Any], members: int, capacity: Capacity, owner: str
) -> Callable[[Any, Any], Any]:
    """A function of (job, sink) that runs ``function`` of (job, sink, team) on a team of this back end.

    ``owner`` names the process that will call it, for `free`.
    """
    strategy: Literal["PACK", "SPREAD"] = "SPREAD" if capacity.placement == "spread" else "PACK"
    plan = TeamPlan(members, capacity.cpus, capacity.gpus, strategy, owner)
    if capacity.teams == "train":
        from ast_ray.ray_backend.trained import Trained  # a second to import

        return Trained(function, plan)
    from ast_ray.ray_backend.group import Together

    return Together(function, plan)

"""How many members a team has, what each takes, and which back end holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ast_ray.distributed.session import Capacity


@dataclass(frozen=True)
class TeamPlan:
    """Members wanted, what each takes, and whether they lie close together or apart."""

    members: int
    cpus: float
    gpus: float
    strategy: Literal["PACK", "SPREAD"] = "PACK"


def team_size(plan: TeamPlan, resources: dict[str, float]) -> int:
    """Members that fit into the cluster, at least one; no more than finish in as many rounds as the fewest would."""
    fitting = int(resources.get("CPU", 0) / plan.cpus)
    if plan.gpus:
        fitting = min(fitting, int(resources.get("GPU", 0) / plan.gpus))
    fitting = max(1, min(plan.members, fitting))
    rounds = -(-plan.members // fitting)
    return -(-plan.members // rounds)


def shared_work(function: Callable[..., Any], members: int, capacity: Capacity) -> Callable[[Any, Any], Any]:
    """A function of (job, sink) that runs ``function`` of (job, sink, team) on a team of this back end."""
    strategy: Literal["PACK", "SPREAD"] = "SPREAD" if capacity.placement == "spread" else "PACK"
    plan = TeamPlan(members, capacity.cpus, capacity.gpus, strategy)
    if capacity.teams == "train":
        from ast_ray.distributed.trained import Trained  # a second to import

        return Trained(function, plan)
    from ast_ray.distributed.group import Together

    return Together(function, plan)

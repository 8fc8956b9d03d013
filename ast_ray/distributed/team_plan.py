"""How many members a team has, and what each takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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

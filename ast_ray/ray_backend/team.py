"""A job shared by a team of plain Ray actors: placed all at once, joined, waited for, ended together.

The team never outlives its job, and never holds part of what it asked for while it waits for the rest. When a member is
lost the whole attempt ends with `WorkerLostError`; whoever runs the jobs starts another one, which goes on from the
checkpoint with as many members as the cluster then has room for.

Ray Train could hold the members too, and did: but its meeting point listens on the network address of the machine, and
when the leader of a team dies in a Ray without dashboard, the places that Train reserved are never given back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import ray
from ray.exceptions import RayTaskError
from ray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ast_ray.errors import AstRayError, DivergenceError, WorkerLostError
from ast_ray.ray_backend.member import LOOPBACK, RemoteMember
from ast_ray.ray_backend.retries import LOST, reason, with_node
from ast_ray.ray_backend.session import Capacity
from ast_ray.telemetry.progress import ProgressSink, Silent

LOOK_AGAIN = 5.0  # seconds until a team that found no room asks how many members would fit now
_GRACE = 5.0  # seconds in which the others may say what went wrong with them
_LAST_WORDS = 60.0  # seconds for the first member to write its checkpoint after a divergence, which all members meet


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
    """Return a function of (job, sink) that runs ``function`` of (job, sink, team) on a team.

    ``owner`` names the process that will call it, for `free`.
    """
    strategy: Literal["PACK", "SPREAD"] = "SPREAD" if capacity.placement == "spread" else "PACK"
    plan = TeamPlan(members, capacity.cpus, capacity.gpus, strategy, owner)
    return ActorGang(function, plan)


@dataclass(frozen=True)
class ActorGang:
    """A job's function, run by a team; called where an actor without resources of its own waits for the members."""

    function: Callable[..., Any]
    plan: TeamPlan

    def __call__(self, job: Any, sink: ProgressSink) -> Any:
        """Run ``function(job, sink, team)`` on every member and return the first member's result.

        Raises:
            AstRayError: of the job; WorkerLostError: a member is gone.
        """
        place = _reserve(self.plan)
        members: list[Any] = []
        try:
            members += [self._member(place, number) for number in range(place.bundle_count)]
            _join(members, self.plan.gpus)
            sinks = [sink, *(Silent() for _ in members[1:])]
            works = [one.work.remote(self.function, job, own) for one, own in zip(members, sinks, strict=True)]
            return _first_result(works)
        except LOST as error:
            text = f"a member of the team was lost while it came together ({reason(error)})"
            raise WorkerLostError(text, with_node=with_node(error)) from None
        finally:
            for member in members:
                ray.kill(member)
            remove_placement_group(place)

    def _member(self, place: PlacementGroup, number: int) -> Any:
        strategy = PlacementGroupSchedulingStrategy(place, placement_group_bundle_index=number)
        return RemoteMember.options(
            num_cpus=self.plan.cpus, num_gpus=self.plan.gpus, scheduling_strategy=strategy
        ).remote()


def _reserve(plan: TeamPlan) -> PlacementGroup:
    """Reserve room for every member at once; ask again with another number when the cluster has changed."""
    while True:
        size = team_size(plan, ray.cluster_resources())
        bundle = {"CPU": plan.cpus, **({"GPU": plan.gpus} if plan.gpus else {})}
        place = placement_group([bundle] * size, strategy=plan.strategy, name=f"{plan.owner}-{uuid4().hex}")
        while not place.wait(LOOK_AGAIN):
            if team_size(plan, ray.cluster_resources()) != size:
                break
        else:
            reserved: PlacementGroup = place
            return reserved
        remove_placement_group(place)


def _join(members: Sequence[Any], gpus: float) -> None:
    """Make the members one process group: NCCL when each has a GPU of its own, else gloo."""
    found = ray.get([member.where.remote() for member in members])
    addresses, size = [address for address, _ in found], len(members)
    host = LOOPBACK if len(set(addresses)) == 1 else addresses[0]
    backend = "nccl" if gpus >= 1 and all(sees_gpu for _, sees_gpu in found) else "gloo"
    port = ray.get(members[0].open_store.remote(host, size))
    _first_result([member.join.remote(rank, size, host, port, backend) for rank, member in enumerate(members)])


def _first_result(works: Sequence[Any]) -> Any:
    """Wait for all; after an error only as long as the others may add to it. Raise the one that says most."""
    results: dict[Any, Any] = {}
    errors: dict[int, Exception] = {}
    waiting = list(works)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=_patience(errors.values()))
        if not done:  # the rest waits for a member that will not come
            break
        for reference in done:
            try:
                results[reference] = ray.get(reference)
            except (*LOST, RayTaskError) as error:
                errors[works.index(reference)] = error
    if not errors:
        return results[works[0]]
    raise _telling(errors)


def _patience(errors: Iterable[Exception]) -> float | None:
    """Seconds worth waiting for the others; None = until they are done."""
    causes = [error.cause if isinstance(error, RayTaskError) else error for error in errors]
    if not causes:
        return None
    if any(isinstance(cause, DivergenceError) for cause in causes):
        return _LAST_WORDS
    return _GRACE if all(isinstance(cause, WorkerLostError) for cause in causes) else 0.0


def _telling(errors: dict[int, Exception]) -> Exception:
    """Of the work, before what it did to the others; of the first member, before the others."""
    for _, error in sorted(errors.items()):
        if isinstance(error, RayTaskError) and not isinstance(error.cause, WorkerLostError):
            return error.cause if isinstance(error.cause, AstRayError) else error
    gone = {rank: error for rank, error in errors.items() if isinstance(error, LOST)} or errors
    rank, error = min(gone.items())
    return WorkerLostError(f"worker {rank} of the team: {reason(error)}", with_node=with_node(error))

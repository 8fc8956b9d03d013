"""What a cluster offers: now, and when it has grown to the size its autoscaler may give it."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_ASKING = 60.0  # seconds for the GPUs' machines to answer


def cluster_resources() -> dict[str, float]:
    """CPUs, GPUs and the rest: what is there, or what the autoscaler may add up to where that is more.

    Sizing by the latter makes more requests than fit at first, which is what lets an autoscaler add machines.
    """
    found = dict(ray.cluster_resources())
    for name, most in _autoscaler_limits().items():
        found[name] = max(found.get(name, 0.0), float(most))
    return found


def _autoscaler_limits() -> dict[str, float]:
    """The most that the cluster's configuration allows of each resource; nothing without an autoscaler."""
    try:
        from ray._private.state import state
    except ImportError:  # not public: without it a cluster is taken as it is
        return {}
    ask: Any = getattr(state, "get_max_resources_from_cluster_config", None)
    limits = ask() if ask is not None else None
    return {name: most for name, most in (limits or {}).items() if most}


def gpu_memory() -> int:
    """Bytes of the smallest GPU of the cluster, asked of each machine that has some; 0 when torch sees none there."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) > 0]
    asked = [
        _smallest_gpu.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in nodes
    ]
    try:
        return min(ray.get(asked, timeout=_ASKING), default=0)
    except RayError:  # busy, or gone: not known, and no GPU is shared
        return 0


@ray.remote(num_cpus=0, num_gpus=0.001, max_retries=0)
def _smallest_gpu() -> int:
    import torch

    if not torch.cuda.is_available():
        return 0
    return min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))

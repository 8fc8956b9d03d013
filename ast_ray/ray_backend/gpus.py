"""The memory of the cluster's GPUs, which decides how many small jobs may share one."""

from __future__ import annotations

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_ASKING = 60.0  # seconds for the GPUs' machines to answer


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

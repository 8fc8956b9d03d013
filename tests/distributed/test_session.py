from __future__ import annotations

import pytest

from ast_ray.config import ComputeConfig
from ast_ray.distributed.session import Capacity, capacity, ray_session
from ast_ray.errors import ConfigError, ResourceError


@pytest.mark.parametrize(
    ("settings", "resources", "expected"),
    [
        ({}, {"CPU": 2.0}, Capacity(1.0, 0.0, 2)),
        ({"workers": 1}, {"CPU": 8.0}, Capacity(1.0, 0.0, 1)),
        ({"workers": 99}, {"CPU": 8.0}, Capacity(1.0, 0.0, 8)),
        ({"cpus_per_task": 0.5}, {"CPU": 2.0}, Capacity(0.5, 0.0, 4)),
        ({"cpus_per_task": 3.0}, {"CPU": 8.0}, Capacity(3.0, 0.0, 2)),
        ({}, {"CPU": 8.0, "GPU": 2.0}, Capacity(1.0, 1.0, 2)),
        ({"gpus_per_task": 0.25}, {"CPU": 8.0, "GPU": 1.0}, Capacity(1.0, 0.25, 4)),
        ({"device": "cpu"}, {"CPU": 8.0, "GPU": 1.0}, Capacity(1.0, 0.0, 8)),
    ],
)
def test_how_many_tasks_fit(settings: dict[str, float], resources: dict[str, float], expected: Capacity) -> None:
    assert capacity(ComputeConfig(**settings), resources) == expected  # type: ignore[arg-type]


def test_a_gpu_where_the_cluster_has_none() -> None:
    with pytest.raises(ResourceError, match="the Ray cluster has no GPU"):
        capacity(ComputeConfig(device="cuda"), {"CPU": 2.0})


def test_a_task_larger_than_the_cluster() -> None:
    with pytest.raises(ConfigError) as caught:
        capacity(ComputeConfig(cpus_per_task=4, gpus_per_task=2), {"CPU": 2.0, "GPU": 1.0})
    assert [problem.setting for problem in caught.value.problems] == ["compute.cpus_per_task", "compute.gpus_per_task"]
    assert "the cluster has 2 CPU" in str(caught.value)


@pytest.mark.ray
def test_a_running_ray_is_used_and_left_running(local_ray: None) -> None:
    import ray

    with ray_session(ComputeConfig(device="cpu", workers=1)) as found:
        assert found == Capacity(1.0, 0.0, 1)
    assert ray.is_initialized()

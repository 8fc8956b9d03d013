from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from ast_ray.config import Config
from ast_ray.config.cost import job_memory
from ast_ray.config.datasets import DATASETS
from ast_ray.config.presets import preset
from ast_ray.stages.engine import run_memory
from ast_ray.stages.run.pipeline import Plan, evaluation_jobs, expert_jobs
from tests.tiny import tiny_plan


def test_the_estimate_grows_with_batch_width_and_penalty() -> None:
    config, facts = preset("cifar10-ipc10"), DATASETS["cifar10"]
    memory = job_memory(config, facts)
    assert 2**29 < memory.expert < 2**34
    assert memory.evaluation < memory.expert
    for changes in ({"batch_size": 128}, {"penalty_weight": 0.0}):
        smaller = dataclasses.replace(config, expert=dataclasses.replace(config.expert, **changes))
        assert job_memory(smaller, facts).expert < memory.expert
    wide = dataclasses.replace(config, network=dataclasses.replace(config.network, width=256))
    assert job_memory(wide, facts).expert > 1.5 * memory.expert


@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_what_cannot_be_counted_gets_a_gpu_of_its_own(name: str) -> None:
    config = preset("cifar10-ipc10")
    other = dataclasses.replace(config, network=dataclasses.replace(config.network, name=name, depth=0))
    assert job_memory(other, DATASETS["cifar10"]) == type(job_memory(config, DATASETS["cifar10"]))(0, 0)


def test_jobs_say_what_they_need(tiny: Callable[..., Config], reference: Plan, tmp_path: object) -> None:
    config = tiny(evaluate__architectures="convnet-w8", distill__segments=4, compute__distill_workers=3)
    plan = tiny_plan(config, reference.directory.path.parent / "jobs")
    memory = run_memory(config, plan.data)
    assert {job.needs.gpu_memory for job in expert_jobs(plan, ["ast"])} == {memory.expert}
    assert {job.needs.gpu_memory for job in evaluation_jobs(plan)} == {0}, "another architecture is not counted"
    assert {job.needs.gpu_memory for job in evaluation_jobs(reference)} == {
        run_memory(reference.config, reference.data).evaluation
    }
    assert plan.distill_job("ast").needs.members == 3
    assert plan.distill_job("ast").needs.gpu_memory == 0
    assert reference.distill_job("ast").needs.members == 1

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from ast_ray.config import Config
from ast_ray.config.presets import method_config
from ast_ray.stages.distillation import stopwatch as module
from ast_ray.stages.distillation.stopwatch import Stopwatch


@pytest.fixture
def watch(tiny: Callable[..., Config]) -> Stopwatch:
    return Stopwatch(tiny(), (1, 8, 8), 10)


def test_every_step_is_timed_once_and_touches_no_global_seed(watch: Stopwatch, tiny: Callable[..., Config]) -> None:
    before = torch.get_rng_state()
    config = tiny()
    plain = method_config(config, "mtt").expert
    first = [watch.training_step(10), watch.expert_step(config.expert, 100), watch.expert_step(plain, 100)]
    first += [watch.student_step(config), watch.scored_image]
    assert all(0 < seconds < 10 for seconds in first)
    again = [watch.training_step(10), watch.expert_step(config.expert, 100), watch.expert_step(plain, 100)]
    assert [*again, watch.student_step(config), watch.scored_image] == first
    assert torch.equal(torch.get_rng_state(), before)


def test_settings_that_diverge_are_timed_all_the_same(tiny: Callable[..., Config]) -> None:
    config = tiny(expert__lr=1e6, distill__student_lr=1e6)
    watch = Stopwatch(config, (1, 8, 8), 10)
    assert watch.expert_step(config.expert, 100) > 0
    assert watch.student_step(config) > 0


class Clock:
    """A clock that a step moves on by an eightieth of a second per image, ten times as much at first."""

    def __init__(self) -> None:
        self.now, self.sizes = 0.0, list[int]()

    def __call__(self) -> float:
        return self.now

    def step(self, size: int) -> None:
        self.now += 0.0125 * size * (1 if self.sizes else 10)
        self.sizes.append(size)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "perf_counter", clock)
    return clock


def test_a_long_step_is_measured_on_fewer_images_and_scaled(clock: Clock) -> None:
    assert module._seconds(clock.step, 1000, 0.01) == pytest.approx(12.5)
    assert clock.sizes == [8, 8]  # one that is not counted; 0.08 s are the share


def test_a_short_step_is_measured_whole_and_repeated(clock: Clock) -> None:
    assert module._seconds(clock.step, 2, 0.01) == pytest.approx(0.025)
    assert clock.sizes == [2] * 4


def test_one_image_too_many_is_a_multiple_of_a_plain_step(
    watch: Stopwatch, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stopwatch, "_image", 0.05)  # a plain step on one image
    monkeypatch.setattr(watch, "training_step", lambda batch: 0.05 * batch)
    config = tiny()
    penalized = dataclasses.replace(config.expert, penalty_weight=1.0)
    assert watch.expert_step(penalized, 100) == pytest.approx(3.3 * 0.05 * 64)
    assert watch.student_step(config) == pytest.approx(4 * 0.05 * 10)

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ast_ray.config import Config, DistillConfig
from ast_ray.core.methods.trajectory import TrajectoryMatching
from ast_ray.errors import StoreError
from ast_ray.stages.distillation.loop import Distillation
from ast_ray.stages.distillation.prefetch import Prefetching
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run.pipeline import train_buffers
from tests.tiny import Recorder, tiny_plan

CONFIG = DistillConfig(expert_epochs=2, max_start_epoch=9)


class Slow:
    """Experts that note who reads what."""

    def __init__(self, broken: int = -1) -> None:
        self.reads: list[tuple[int, int, int]] = []
        self.threads: list[str] = []
        self.broken = broken

    def __len__(self) -> int:
        return 5

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        if expert_id == self.broken:
            raise StoreError("damaged")
        self.reads.append((expert_id, start_epoch, length))
        self.threads.append(threading.current_thread().name)
        return [torch.tensor([float(expert_id), float(start_epoch)])]


@pytest.mark.parametrize("window", [0, 1])
def test_a_distillation_finds_every_segment_but_the_first_read(
    tiny: Callable[..., Config], tmp_path: Path, window: int
) -> None:
    """Whatever `iterate` draws, after a start epoch drawn near the last one as well."""
    config = tiny(run__methods="ast", distill__start_epoch_window=window, distill__max_start_epoch=2)
    plan = tiny_plan(config, tmp_path)
    train_buffers(plan, ["ast"], SerialExecutor(Recorder()))
    run = Distillation(plan.distill_job("ast"), Recorder())
    for number in range(6):
        run.step()
        assert run.experts.hits == number
    assert run.experts._coming is None, "reads past the last iteration"


def test_what_was_foreseen_is_read_once_and_elsewhere() -> None:
    inner = Slow()
    experts = Prefetching(inner, CONFIG, seed=0)
    now, then = experts._draw(1, -1), experts._draw(2, 0)
    experts.look_ahead(1, -1)
    experts.segment(*now, 2)
    assert experts.segment(*then, 2)[0].tolist() == list(then)
    assert inner.reads == [(*now, 2), (*then, 2)]
    assert inner.threads[1] == "prefetch"
    assert experts.hits == 1


@pytest.mark.parametrize("places", [range(3), range(1, 3, 2)])
def test_with_several_segments_each_is_read_while_the_one_before_it_is_matched(places: range) -> None:
    """Those that are matched here, and then the first of them in the next iteration."""
    inner = Slow()
    experts = Prefetching(inner, CONFIG, 0, places)
    problem = TrajectoryMatching(None, None, experts, dataclasses.replace(CONFIG, segments=3), 0)  # type: ignore[arg-type]
    state = problem.begin(torch.zeros(1), 0.1)
    for number in range(3):
        experts.look_ahead(number + 1, state.numbers["last_start_epoch"])
        draws = [problem.draw(state, place) for place in range(3)]
        for place in places:
            experts.segment(draws[place].expert_id, draws[place].start_epoch, 2)
        state = state.changed({}, iteration=number + 1, last_start_epoch=draws[0].start_epoch)
    assert experts.hits == 3 * len(places) - 1


def test_what_was_not_foreseen_is_read_all_the_same() -> None:
    inner = Slow()
    experts = Prefetching(inner, CONFIG, seed=0)
    experts.look_ahead(1, -1)
    experts.segment(0, 0, 2)
    assert experts.segment(4, 3, 1)[0].tolist() == [4, 3]
    assert experts.hits == 0


def test_an_error_of_reading_ahead_is_raised_where_it_matters() -> None:
    experts = Prefetching(Slow(), CONFIG, seed=0)
    coming = experts._draw(2, 0)
    experts._experts = Slow(broken=coming[0])
    experts.look_ahead(1, -1)
    experts.segment((coming[0] + 1) % 5, 0, 2)
    with pytest.raises(StoreError, match="damaged"):
        experts.segment(*coming, 2)

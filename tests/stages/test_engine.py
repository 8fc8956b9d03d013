"""Engines of a distillation: on a GPU the first that agrees with autograd there, played on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ast_ray.config import Config
from ast_ray.config.engine import Machine
from ast_ray.core.engines.autograd import AutogradEngine, Engine, RoomyEngine, StepData
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine
from ast_ray.core.engines.expert_step import ExpertBatch, ManualExpertStep
from ast_ray.core.networks import Network, build
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.rng import stream
from ast_ray.errors import ResourceError
from ast_ray.stages import engine as engines
from ast_ray.stages.distillation.loop import distill
from ast_ray.stages.engine_check import disagreement, expert_disagreement
from ast_ray.storage.synthetic import load_synthetic
from tests.stages.distillation.test_loop import job_in
from tests.stages.run.test_pipeline import Plan
from tests.tiny import Recorder, tiny_plan

GPU = Machine("cuda", 80 * 2**30, compiler=True)


def _network(config: Config) -> Network:
    return build(config.network, (1, 8, 8), 10, stream(0, "network"))


@dataclass(frozen=True)
class Stale:
    """An engine like a captured graph that goes on reading its first images."""

    inner: Engine
    seen: list[Tensor]

    def gradient(self, theta: Tensor, data: StepData, *, keep: bool, slot: int = 0) -> tuple[Tensor, Any]:
        self.seen.append(data.images)
        return self.inner.gradient(theta, replace(data, images=self.seen[slot]), keep=keep)

    def derivative(self, kept: Any, toward: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.derivative(kept, toward)


@dataclass(frozen=True)
class Halved:
    """An engine whose derivative is wrong."""

    inner: Engine

    def gradient(self, theta: Tensor, data: StepData, *, keep: bool, slot: int = 0) -> tuple[Tensor, Any]:
        return self.inner.gradient(theta, data, keep=keep)

    def derivative(self, kept: Any, toward: Tensor) -> tuple[Tensor, Tensor]:
        through_theta, through_images = self.inner.derivative(kept, toward)
        return through_theta, through_images / 2


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_right_engines_agree_and_wrong_ones_do_not(tiny: Callable[..., Config], precision: str) -> None:
    config = tiny(distill__precision=precision)
    network = _network(config)
    spec = FlatSpec.of(network)
    right = ManualConvNetEngine(spec, precision=torch.bfloat16 if precision == "bf16" else None)
    assert disagreement(right, network, config, (1, 8, 8), 10) == ""
    for wrong in (Stale(AutogradEngine(network, spec), []), Halved(right)):
        assert "off autograd by" in disagreement(wrong, network, config, (1, 8, 8), 10)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_right_expert_steps_agree_and_wrong_ones_do_not(tiny: Callable[..., Config], precision: str) -> None:
    config = tiny(expert__expert_precision=precision)
    network = _network(config)
    inner = ManualConvNetEngine(FlatSpec.of(network), precision=torch.bfloat16 if precision == "bf16" else None)
    right = ManualExpertStep(inner, config.expert, 32)
    assert expert_disagreement(right, network, config, (1, 8, 8), 10) == ""
    for off in (2.0, float("nan")):

        def wrong(theta: Tensor, batch: ExpertBatch, off: float = off) -> tuple[Tensor, Tensor, Tensor]:
            gradient, loss, penalty = right(theta, batch)
            return off * gradient, loss, penalty

        assert "off autograd by" in expert_disagreement(wrong, network, config, (1, 8, 8), 10)


def test_an_expert_by_auto_on_a_gpu_takes_the_compiled_step_that_agrees(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, compiled_code: None
) -> None:
    monkeypatch.setattr(engines, "machine", lambda _: GPU)
    monkeypatch.setattr("ast_ray.config.engine._WORTH_COMPILING_EXPERTS", {"cuda": 0.0})
    config = tiny()
    network, images = _network(config), (1, 8, 8)
    assert isinstance(engines.build_expert_step(network, config, images, 10, 200), ManualExpertStep)
    with monkeypatch.context() as patched:
        patched.setattr(engines, "expert_disagreement", lambda *_: "off")
        assert engines.build_expert_step(network, config, images, 10, 200) is None

    def broken(*_: object) -> None:
        raise ResourceError("no compiler that works")

    monkeypatch.setattr(engines, "_written", broken)
    assert engines.build_expert_step(network, config, images, 10, 200) is None
    with pytest.raises(ResourceError, match="no compiler"):
        engines.build_expert_step(network, tiny(expert__expert_engine="compiled"), images, 10, 200)


def test_not_a_number_is_a_disagreement(tiny: Callable[..., Config]) -> None:
    config = tiny()
    network = _network(config)

    class Nothing(AutogradEngine):
        def derivative(self, kept: Any, toward: Tensor) -> tuple[Tensor, Tensor]:
            return tuple(torch.full_like(part, float("nan")) for part in super().derivative(kept, toward))

    assert "inf" in disagreement(Nothing(network, FlatSpec.of(network)), network, config, (1, 8, 8), 10)


def test_auto_on_a_gpu_falls_back_and_says_why(
    tiny: Callable[..., Config],
    reference: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compiled_code: None,
) -> None:
    """Without CUDA no graph can be captured; the compiled step works; with a wrong one only autograd is left."""
    monkeypatch.setattr(engines, "machine", lambda _: GPU)
    monkeypatch.setattr("ast_ray.config.engine._WORTH_COMPILING", 0.0)
    config = tiny(distill__engine="auto")
    network, data = _network(config), tiny_plan(config, tmp_path).data
    choice, engine, note = engines.open_engine(config, data, network)
    assert isinstance(engine, ManualConvNetEngine)
    assert (choice.engine, choice.method) == ("compiled", "stored")
    assert note.startswith("engine graphed: ")
    assert note.endswith("; matching by engine compiled")
    sink = Recorder()
    outcome = distill(job_in(config, tmp_path, reference), sink)
    assert outcome["engine"] == "compiled"
    assert any(message.startswith("ast: engine graphed: ") for message in sink.messages)

    real = engines.build_engine
    monkeypatch.setattr(engines, "build_engine", lambda *given: (built := real(*given)) and Halved(built))
    choice, engine, note = engines.open_engine(config, data, network)
    assert (choice.engine, engine) == ("eager", None)
    assert "engine compiled: off autograd by" in note


def test_an_engine_by_name_is_taken_as_it_is(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled_code: None
) -> None:
    monkeypatch.setattr(engines, "machine", lambda _: GPU)
    config = tiny(distill__engine="compiled")
    choice, engine, note = engines.open_engine(config, tiny_plan(config, tmp_path).data, _network(config))
    assert (choice.engine, note) == ("compiled", "")
    assert isinstance(engine, ManualConvNetEngine)


def test_direct_runs_by_the_compiled_engine_with_room_for_every_step(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, compiled_code: None
) -> None:
    config = tiny(distill__engine="compiled", distill__gradient="direct")
    data = tiny_plan(config, tmp_path).data
    choice, engine, note = engines.open_engine(config, data, _network(config))
    assert (choice.method, choice.roomy, note) == ("direct", True, "")
    assert isinstance(engine, RoomyEngine)
    assert isinstance(engine.inner, ManualConvNetEngine)
    outcome = distill(job_in(config, tmp_path / "direct", reference), Recorder())
    assert (outcome["engine"], outcome["gradient"]) == ("compiled", "direct")
    eager = tiny(distill__engine="eager", distill__gradient="direct")
    distill(job_in(eager, tmp_path / "eager", reference), Recorder())
    exact = tiny(distill__engine="eager")
    distill(job_in(exact, tmp_path / "exact", reference), Recorder())
    found, same, other = (
        load_synthetic(tmp_path / name / "distill/ast/last.safetensors").images for name in ("direct", "eager", "exact")
    )
    assert float((found - same).norm()) < 0.05 * float((found - other).norm())

"""Lower precision is near float32 where it is asked for, and nowhere else."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch
from torch import Tensor

from ast_ray.config.settings import ExpertConfig, NetworkConfig
from ast_ray.core import precision
from ast_ray.core.engines.autograd import AutogradEngine, StepData
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine
from ast_ray.core.engines.expert_step import AutogradExpertStep, ExpertBatch, ManualExpertStep
from ast_ray.core.experts.training import train_experts_together
from ast_ray.core.networks import Network, build
from ast_ray.core.parameters import FlatSpec, flatten
from ast_ray.core.rng import stream

SHAPE, CLASSES = (3, 8, 8), 4


def _network() -> Network:
    return build(NetworkConfig(width=16, depth=2), SHAPE, CLASSES, stream(0, "network"))


def _images(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=stream(0, "images"))


def _apart(ours: Tensor, reference: Tensor) -> float:
    assert ours.dtype == reference.dtype == torch.float32
    return float((ours - reference).norm() / reference.norm())


@pytest.mark.parametrize("written", [True, False])
def test_a_student_step_in_bf16_is_near_float32(written):
    network = _network()
    spec, theta = FlatSpec.of(network), flatten(network)
    data = StepData(_images(20), torch.arange(20) % CLASSES, None, 1.3)
    toward = torch.randn(theta.shape, generator=stream(0, "toward"))
    reference = AutogradEngine(network, spec)
    engine = ManualConvNetEngine(spec, precision=torch.bfloat16) if written else AutogradEngine(network, spec, "bf16")
    results = []
    for of in (engine, reference):
        gradient, kept = of.gradient(theta, data, keep=True)
        results.append((gradient, *of.derivative(kept, toward)))
    for ours, expected in zip(*results, strict=True):
        assert 1e-5 < _apart(ours, expected) < 0.1


@pytest.mark.parametrize("written", [True, False])
def test_an_expert_step_in_bf16_is_near_float32(written):
    network, config = _network(), ExpertConfig(batch_size=20)
    spec, theta = FlatSpec.of(network), flatten(network)
    batch = ExpertBatch(_images(20), _images(20), torch.arange(20) % CLASSES, 1.0)
    lower = dataclasses.replace(config, expert_precision="bf16")
    if written:
        ours = ManualExpertStep(ManualConvNetEngine(spec, precision=torch.bfloat16), lower, 20)(theta, batch)
    else:
        ours = AutogradExpertStep(network, spec, lower)(theta, batch)
    reference = AutogradExpertStep(network, spec, config)(theta, batch)
    assert 1e-5 < _apart(ours[0], reference[0]) < 0.1
    assert float(ours[1]) == pytest.approx(float(reference[1]), rel=1e-2)
    assert float(ours[2]) == pytest.approx(float(reference[2]), rel=3e-2)


def test_experts_together_take_the_precision_too():
    config = ExpertConfig(epochs=1, batch_size=10, lr_decay_epoch=0)
    networks, labels = [_network(), _network()], torch.arange(20) % CLASSES
    ends = []
    for name in ("bf16", "float32"):
        chosen = dataclasses.replace(config, expert_precision=name)
        found = list(train_experts_together(networks, _images(20), labels, chosen, seed=0, expert_ids=(0, 1)))
        ends.append(found[-1][1].theta - found[0][1].theta)
    assert 1e-5 < _apart(*ends) < 0.1


def test_tf32_is_allowed_inside_the_block_only():
    before = precision._tf32()
    with precision.tf32_allowed(True):
        assert precision._tf32() == (True, True)
        with precision.tf32_allowed(False):
            assert precision._tf32() == (False, False)
        assert precision._tf32() == (True, True)
    assert precision._tf32() == before
    with pytest.raises(KeyError), precision.tf32_allowed(True):
        raise KeyError
    assert precision._tf32() == before


def test_tf32_by_the_names_of_older_torch(monkeypatch):
    monkeypatch.setattr(precision, "hasattr", lambda *_: False, raising=False)
    seen: dict[str, bool] = {}

    class Backend:
        """Remembers what is set."""

        allow_tf32 = True

        def __setattr__(self, name: str, value: bool) -> None:
            seen[name] = value
            object.__setattr__(self, name, value)

    class Backends:
        """Torch's switches before 2.9."""

        cudnn = Backend()

        class cuda:  # noqa: N801
            """Of matrix products."""

            matmul = Backend()

    monkeypatch.setattr(precision.torch, "backends", Backends)
    with precision.tf32_allowed(False):
        assert seen == {"allow_tf32": False}
        assert precision._tf32() == (False, False)
    assert precision._tf32() == (True, True)


def test_only_bf16_casts():
    with precision.autocast("tf32", torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")
    with precision.autocast("bf16", torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu")
    assert precision.activation_type("bf16") is torch.bfloat16
    assert precision.activation_type("float32") is precision.activation_type("tf32") is None


def test_a_gpu_gives_the_same_bytes_inside_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with precision.reproducible():
        assert not torch.are_deterministic_algorithms_enabled()  # no GPU: nothing changes
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with precision.reproducible():
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory

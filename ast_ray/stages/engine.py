"""Select and build the gradient engine of student and expert steps, and estimate the GPU memory of a job."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from ast_ray.config.cost import JobMemory, job_memory
from ast_ray.config.datasets import DatasetFacts
from ast_ray.config.engine import CHUNK, Choice, Machine, choose, choose_expert_engine
from ast_ray.config.settings import Config
from ast_ray.config.work_settings import ComputeConfig
from ast_ray.core.engines.autograd import Engine, RoomyEngine
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine
from ast_ray.core.engines.convnet.kernels import Kernels
from ast_ray.core.engines.cuda_graph import GraphedEngine
from ast_ray.core.engines.expert_step import ExpertStep, ManualExpertStep
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.precision import Precision, activation_type
from ast_ray.data.real import RealData
from ast_ray.errors import ResourceError
from ast_ray.stages.device import resolve_device
from ast_ray.stages.engine_check import disagreement, expert_disagreement


def facts_about(data: RealData) -> DatasetFacts:
    """Return the facts about images that costs are estimated from."""
    channels, side, _ = data.image_shape
    train = len(data.train_labels) + len(data.validation_labels)
    return DatasetFacts("", data.classes, channels, side, train, len(data.test_labels))


def run_memory(config: Config, data: RealData) -> JobMemory:
    """Estimate the memory of one expert and of one evaluation."""
    return job_memory(config, facts_about(data))


_GPU_ENGINES: tuple[Literal["graphed", "compiled", "eager"], ...] = ("graphed", "compiled", "eager")
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def machine(compute: ComputeConfig) -> Machine:
    """This machine as the settings would use it."""
    if resolve_device(compute).type == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory
        compiler = importlib.util.find_spec("triton") is not None and shutil.which(os.environ.get("CC", "gcc"))
        return Machine("cuda", memory, bool(compiler))
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    return Machine("cpu", _memory(), any(shutil.which(name) for name in names))


def _memory() -> int:
    """Bytes of memory of this machine, or of the container it shows itself as."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(whole, int(_CGROUP.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such limit: absent, or "max"
        return whole


def matching_choice(config: Config, data: RealData) -> tuple[Choice, Machine]:
    """Resolve engine and method for these images on this machine; see `config.engine.choose` for what it raises."""
    here = machine(config.compute)
    return choose(config, data.image_shape, data.classes, here), here


def describe_engines(config: Config, data: RealData) -> list[str]:
    """Describe the engines that a run will use here, with their memory."""
    choice, here = matching_choice(config, data)
    experts = choose_expert_engine(config, data.image_shape, len(data.train_labels), here)
    return [f"experts: engine {experts}", choice.told(here)]


def open_engine(config: Config, data: RealData, network: Network) -> tuple[Choice, Engine | None, str]:
    """Return the resolved engine choice, the engine (None for autograd) and a message for the user (usually empty).

    ``auto`` on a GPU takes the first of the engines there that agrees with autograd (`engine_check`).

    Raises:
        ConfigError, ResourceError: see `config.engine.choose` and `build_engine`.
    """
    choice, here = matching_choice(config, data)
    if config.distill.engine != "auto" or here.device == "cpu" or choice.engine == "eager":
        return choice, build_engine(choice, network, config), ""
    reasons = []
    for name in _GPU_ENGINES:
        asked = replace(config, distill=replace(config.distill, engine=name))
        tried = choose(asked, data.image_shape, data.classes, here)
        try:
            engine = build_engine(tried, network, asked)
            reason = disagreement(engine, network, config, data.image_shape, data.classes) if engine else ""
        except (ResourceError, RuntimeError) as error:  # whatever the compiler's or CUDA's trouble
            reason = str(error).strip().splitlines()[0][:200]
        if not reason:
            break
        reasons.append(f"engine {name}: {reason}")
    return tried, engine, "; ".join([*reasons, f"matching by engine {tried.engine}"]) if reasons else ""


def build_engine(choice: Choice, network: Network, config: Config) -> Engine | None:
    """Return the engine of student steps, None for eager.

    Raises:
        ResourceError: the machine has a compiler that does not work.
    """
    if choice.engine == "eager":
        return None
    written = _written(network, config, config.distill.precision, "distill.engine")
    engine: Engine = GraphedEngine(replace(written, limit=0)) if choice.engine == "graphed" else written
    return RoomyEngine(engine) if choice.roomy else engine


def build_expert_step(
    network: Network, config: Config, image_shape: tuple[int, int, int], classes: int, images: int
) -> ExpertStep | None:
    """Return what steps on ``images`` training images of shape (C, H, W) compute with, None for autograd.

    ``auto`` on a GPU takes the compiled step only if it works and agrees with autograd there (`engine_check`).

    Raises:
        ConfigError: an engine or precision that this machine or network does not have; ResourceError: see above.
    """
    here = machine(config.compute)
    if choose_expert_engine(config, image_shape, images, here) == "eager":
        return None
    if config.expert.expert_engine != "auto" or here.device == "cpu":
        return _expert_step(network, config, images)
    try:
        step = _expert_step(network, config, images)
        return None if expert_disagreement(step, network, config, image_shape, classes) else step
    except (ResourceError, RuntimeError):  # whatever the compiler's or CUDA's trouble
        return None


def _expert_step(network: Network, config: Config, images: int) -> ExpertStep:
    engine = _written(network, config, config.expert.expert_precision, "expert.expert_engine")
    return ManualExpertStep(engine, config.expert, min(config.expert.batch_size, images))


def _written(network: Network, config: Config, precision: Precision, setting: str) -> ManualConvNetEngine:
    """The written-out step, compiled; compiled code is kept beside the decoded images, where later runs find it."""
    cache = Path(config.data.root).expanduser() / "compiled"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    passes = Kernels.compiled()
    device = next(network.parameters()).device
    try:
        passes.tangent_sums(*(torch.ones(1, side, side, 1, device=device) for side in (2, 1, 2)))
    except RuntimeError as error:  # whatever the compiler's trouble, torch wraps it in one of these
        cause = str(error).strip().splitlines()[0][:200]
        raise ResourceError(f"compiling the step fails ({cause}); use {setting} = eager") from error
    limit = CHUNK if device.type == "cpu" else 0
    return ManualConvNetEngine(FlatSpec.of(network), passes, limit, activation_type(precision))

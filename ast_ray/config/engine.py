"""Choose the engines that match and that train experts, and say how much memory matching takes.

The choice depends on the settings and the machine's total resources alone, never on what is free at the moment, so
every worker and every resumed run makes the same one. ``docs/performance.md`` holds the measurements behind the
constants.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Literal

from ast_ray.config.architectures import norm_of
from ast_ray.config.identity import trained
from ast_ray.config.networks import automatic_depth, padded_side
from ast_ray.config.settings import Config
from ast_ray.errors import ConfigError, Problem, ResourceError

Engine = Literal["eager", "compiled", "graphed"]
Method = Literal["recompute", "stored", "full_graph", "direct"]

_FLOAT = 4
# Compiling pays from this much student arithmetic on (forward operations of all steps): it costs about a minute.
_WORTH_COMPILING = 1e13
# A run may hold this share of the machine's memory for stored steps: on a CPU two methods and other tasks may run
# beside it, a GPU is the distillation's own but for what the library and its graphs take.
_STORED_SHARE = {"cpu": 1 / 8, "cuda": 1 / 2}
# Numbers kept per number of a convolution's output, measured: the unrolled graph per step, one eager double backward.
_UNROLLED, _DOUBLE_BACKWARD = 6.0, 16.0
# Bytes of the largest activation per chunk of a compiled step: it stays in a core's share of the cache.
CHUNK = 12 * 2**20


@dataclass(frozen=True)
class Machine:
    """The machine as the choice sees it: kind of device, its memory in bytes, whether code can be compiled for it."""

    device: Literal["cpu", "cuda"]
    memory: int
    compiler: bool


@dataclass(frozen=True)
class Choice:
    """The engine and method that match, with the bytes they are expected to need.

    ``roomy``: method ``direct`` keeps every step's intermediates, as ``stored`` does, for the memory holds them.
    """

    engine: Engine
    method: Method
    memory: int
    roomy: bool = False

    def told(self, machine: Machine) -> str:
        """In words, for the start of a run."""
        need = f"{self.memory / 2**20:.0f} MiB" if self.memory < 2**30 else f"{self.memory / 2**30:.1f} GiB"
        return f"matching: engine {self.engine}, {self.method}, about {need} of {machine.memory / 2**30:.0f} GiB"


def hand_derived(config: Config) -> bool:
    """Return whether the compiled engines cover a step: a ConvNet with instance norm that keeps the image's size."""
    plain = config.network.first_padding == 1
    return config.network.name == "convnet" and norm_of(config.network) == "instance" and plain


def not_compiled(config: Config, machine: Machine) -> str:
    """Return why this network's steps cannot be compiled on this machine; empty if they can."""
    if not hand_derived(config):
        return "only ConvNet with instance norm and network.first_padding = 1 has it; valid here: auto, eager"
    if not machine.compiler:
        missing = "Triton" if machine.device == "cuda" else "a C++ compiler (g++ or clang++; CXX names another)"
        return f"this machine lacks {missing}; valid here: auto, eager"
    return ""


def check_precision(setting: str, asked: str, machine: Machine) -> None:
    """Refuse what the machine does not have.

    Raises:
        ConfigError: TF32 without a GPU.
    """
    if asked == "tf32" and machine.device != "cuda":
        raise ConfigError([Problem(setting, asked, "TF32 is a GPU's; valid here: float32, bf16")])


def choose(config: Config, image_shape: tuple[int, int, int], classes: int, machine: Machine) -> Choice:
    """Resolve ``distill.engine`` and ``distill.gradient``.

    Args:
        image_shape: (C, H, W).

    Raises:
        ConfigError: an engine this network, method or machine does not have; ResourceError: it cannot fit into memory.
    """
    check_precision("distill.precision", config.distill.precision, machine)
    engine = _engine(config, image_shape, classes, machine)
    asked = config.distill.gradient
    method: Method = "recompute" if asked == "auto" else asked
    stored = matching_memory(config, image_shape, classes, engine, "stored", machine)
    holds = engine != "eager" and stored <= machine.memory * _STORED_SHARE[machine.device]
    if asked == "auto" and holds:
        method = "stored"
    roomy = method == "direct" and holds
    memory = stored if roomy else matching_memory(config, image_shape, classes, engine, method, machine)
    choice = Choice(engine, method, memory, roomy)
    if choice.memory > machine.memory:
        raise ResourceError(_too_much(config, image_shape, classes, machine, choice))
    return choice


def _engine(config: Config, image_shape: tuple[int, int, int], classes: int, machine: Machine) -> Engine:
    asked, unrolled = config.distill.engine, config.distill.gradient == "full_graph"
    if asked == "auto":
        able = hand_derived(config) and machine.compiler and not unrolled
        if not able or student_work(config, image_shape, classes) < _WORTH_COMPILING:
            return "eager"
        return "compiled" if machine.device == "cpu" else "graphed"
    if asked == "eager":
        return asked
    reason = not_compiled(config, machine)
    if unrolled:
        reason = reason or "distill.gradient = full_graph unrolls autograd's graph; valid with it: auto, eager"
    elif asked == "graphed" and machine.device != "cuda":
        reason = "CUDA graphs need a GPU; valid here: auto, eager, compiled"
    if reason:
        raise ConfigError([Problem("distill.engine", asked, reason)])
    return asked


def student_work(config: Config, image_shape: tuple[int, int, int], classes: int) -> float:
    """Floating-point operations of the forward passes of all student steps of a ConvNet."""
    steps = config.distill.syn_steps * config.distill.iterations
    return forward_work(config, image_shape) * _batch(config, classes) * steps


def forward_work(config: Config, image_shape: tuple[int, int, int]) -> float:
    """Floating-point operations of a ConvNet's convolutions for one image."""
    forward, inputs = 0.0, image_shape[0]
    for _, positions in _blocks(config, image_shape):
        forward += 2.0 * 9 * inputs * config.network.width * positions
        inputs = config.network.width
    return forward


def matching_memory(
    config: Config, image_shape: tuple[int, int, int], classes: int, engine: Engine, method: Method, machine: Machine
) -> int:
    """Bytes of one distillation's matching: step intermediates, kept weights and images; 0 where it is not counted.

    Activations are counted for ConvNets. Eager recompute holds one double backward, the unrolled graph N of them,
    a compiled step z and twice its pooled quarter per image, and the temporaries of one chunk. ``direct`` counts as
    recompute; a roomy choice of it needs what ``stored`` does.
    """
    if config.network.name != "convnet":
        return 0
    channels, height, width = image_shape
    outputs = [filters * positions for filters, positions in _blocks(config, image_shape)]
    image = channels * height * width
    whole = sum(outputs)
    batch = _batch(config, classes)
    steps, total = config.distill.syn_steps, config.distill.ipc * classes
    if engine == "eager":
        live = _UNROLLED * steps if method == "full_graph" else 0.0
        live += _UNROLLED * (steps - 1) if method == "stored" else 0.0
        numbers = batch * whole * (live + _DOUBLE_BACKWARD)
    else:
        item = 2 if config.distill.precision == "bf16" else _FLOAT
        rows = max(1, min(batch, CHUNK // (item * outputs[0]))) if machine.device == "cpu" else batch
        kept = 1.5 * whole + image
        times = steps if method == "stored" else 1
        working = rows * (whole + 4 * outputs[0]) * (times if engine == "graphed" else 1)  # each graph has its own
        numbers = (batch * kept * times + working) * item / _FLOAT
    weights = (steps + config.distill.expert_epochs + 10) * _parameters(config, image_shape, classes)
    return int(_FLOAT * (numbers + weights + 6 * total * image))


def _too_much(config: Config, image_shape: tuple[int, int, int], classes: int, machine: Machine, choice: Choice) -> str:
    need, whole = choice.memory / 2**30, machine.memory / 2**30
    text = f"matching by engine {choice.engine} with distill.gradient = {choice.method} needs about {need:.1f} GiB, "
    text += f"this machine's {machine.device} has {whole:.1f} GiB; "
    less = matching_memory(config, image_shape, classes, choice.engine, "recompute", machine)
    if choice.method != "recompute" and less <= machine.memory:
        return text + f"distill.gradient = recompute needs {less / 2**30:.1f} GiB"
    fitting = bisect_right(
        range(1, _batch(config, classes) + 1),
        machine.memory,
        key=lambda rows: matching_memory(
            replace(config, distill=replace(config.distill, batch_size=rows)),
            image_shape,
            classes,
            choice.engine,
            "recompute",
            machine,
        ),
    )
    if fitting:
        return text + f"lower distill.batch_size (up to {fitting} would fit) or network.width"
    return text + "lower network.width or data.image_size"


def _blocks(config: Config, image_shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """(filters, positions) of every convolution's output."""
    height, width = _first_map(config, image_shape)
    depth = config.network.depth or automatic_depth(min(height, width))
    return [(config.network.width, (height >> block) * (width >> block)) for block in range(depth)]


def _first_map(config: Config, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return height and width of the first convolution's output."""
    _, height, width = image_shape
    padding = config.network.first_padding
    return padded_side(height, padding), padded_side(width, padding)


def _batch(config: Config, classes: int) -> int:
    total = config.distill.ipc * classes
    return min(config.distill.batch_size or total, total)


def _parameters(config: Config, image_shape: tuple[int, int, int], classes: int) -> int:
    blocks = _blocks(config, image_shape)
    inputs = image_shape[0]
    count = 0
    for filters, _ in blocks:
        count += filters * (9 * inputs + 3)
        inputs = filters
    height, width = _first_map(config, image_shape)
    features = config.network.width * (height >> len(blocks)) * (width >> len(blocks))
    return count + (features + 1) * classes


ExpertEngine = Literal["eager", "compiled"]

_PLAIN, _PENALTY = 3, 6  # convolutions per layer and image, in forward passes
# Compiling, half a minute to a minute, pays from this much arithmetic of one expert on: about five minutes of autograd
# on two cores, twenty seconds on an H200, where the experts that follow find the compiled code.
_WORTH_COMPILING_EXPERTS = {"cpu": 1e13, "cuda": 1e14}


def choose_expert_engine(
    config: Config, image_shape: tuple[int, int, int], images: int, machine: Machine
) -> ExpertEngine:
    """Resolve ``expert.expert_engine`` for ``images`` training images of shape (C, H, W).

    Raises:
        ConfigError: an engine or precision that this network or machine does not have.
    """
    expert = config.expert
    check_precision("expert.expert_precision", expert.expert_precision, machine)
    asked, reason = expert.expert_engine, not_compiled(config, machine)
    if asked == "compiled" and reason:
        raise ConfigError([Problem("expert.expert_engine", asked, reason)])
    if asked != "auto":
        return asked
    if reason or config.compute.experts_together > 1:
        return "eager"
    if machine.device == "cuda" and not expert.penalty_weight:
        return "eager"  # there the compiled step saves time only with the penalty
    passes = (_PLAIN + (_PENALTY if expert.penalty_weight else 0)) * (2 if expert.sharpness_rho else 1)
    work = forward_work(config, image_shape) * images * trained(config).expert.epochs * passes
    return "compiled" if work >= _WORTH_COMPILING_EXPERTS[machine.device] else "eager"

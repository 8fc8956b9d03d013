"""The seam of distillation methods: a `Problem` says what a method computes, `iteration.iterate` runs any of them.

A method draws and differentiates one or several units per iteration (AST: segments of experts). The torch-free half of
a method (name, settings, identity) is its `config.methods.MethodInfo`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ast_ray.config.settings import Config
from ast_ray.core.engines.autograd import Engine
from ast_ray.core.images import Images
from ast_ray.core.networks import Network
from ast_ray.errors import DivergenceError

IMAGES = "images"
"""The pixels [S, C, H, W] among what is learned."""
STUDENT_LR = "student_lr"
"""The learning rate alpha, 0-dim, where a method learns it."""
TARGETS = "targets"
"""The label distributions [S, K], where a method learns or assigns them."""
_COUNTS = ("skipped", "skipped_in_a_row", "updates")


@dataclass(frozen=True)
class State:
    """Everything that changes between iterations; a checkpoint is this and nothing more.

    Attributes:
        tensors: what is learned (`IMAGES`, and `STUDENT_LR` or `TARGETS` where the method learns them), then what the
            outer optimizer and the method carry, by name.
        numbers: iterations done, updates made, units skipped, iterations just past without an update, and what the
            method counts.
    """

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, int]

    @classmethod
    def begin(cls, tensors: Mapping[str, Tensor], **counts: int) -> State:
        """Return the state before the first iteration; ``counts`` are the method's own."""
        return cls(dict(tensors), {"iteration": 0, **counts, **dict.fromkeys(_COUNTS, 0)})

    @classmethod
    def from_saved(cls, tensors: Mapping[str, Tensor], numbers: Mapping[str, int], start: State) -> State:
        """Return the state that a checkpoint describes; what it lacks of ``start`` is as it was there."""
        return cls(
            {name: tensors.get(name, tensor) for name, tensor in start.tensors.items()},
            {name: numbers.get(name, number) for name, number in start.numbers.items()},
        )

    @property
    def images(self) -> Tensor:
        """The synthetic images [S, C, H, W]."""
        return self.tensors[IMAGES]

    @property
    def student_lr(self) -> Tensor:
        """The learned learning rate alpha, a 0-dim tensor.

        Raises:
            KeyError: the method learns none.
        """
        return self.tensors[STUDENT_LR]

    @property
    def iteration(self) -> int:
        """Number of iterations done."""
        return self.numbers["iteration"]

    @property
    def updates(self) -> int:
        """Number of updates made."""
        return self.numbers["updates"]

    @property
    def skipped(self) -> int:
        """Number of units not used so far."""
        return self.numbers["skipped"]

    def changed(self, tensors: Mapping[str, Tensor], **numbers: int) -> State:
        """Return the state with some tensors and numbers replaced."""
        return State({**self.tensors, **tensors}, {**self.numbers, **numbers})

    def on(self, device: torch.device) -> State:
        """Return the same state with its tensors on a device."""
        return replace(self, tensors={name: tensor.to(device) for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class Draw:
    """The random choices of one unit: its iteration (from 1) and its place 0..W-1 among the iteration's units."""

    iteration: int
    place: int


@dataclass(frozen=True)
class Gradients:
    """A unit's loss, the gradients of what is learned by name, and further numbers to be averaged (0-dim tensors)."""

    loss: Tensor
    learned: Mapping[str, Tensor]
    parts: tuple[Tensor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """The numbers of one iteration that every method has; a method's own report extends it.

    ``loss`` is the mean over the units used, or over all where none was; ``relative_loss`` is 1 where the set is as
    good as nothing. ``skipped`` counts the units not used so far, this iteration's included; ``unusable`` says why this
    iteration's first such unit was not used (empty: all were).
    """

    iteration: int
    loss: float
    relative_loss: float
    image_gradient_norm: float
    skipped: int = 0
    unusable: str = ""

    unit: ClassVar[str] = "update"
    """The word for one unit, in messages."""

    @property
    def finite(self) -> bool:
        """True where every number that the update depends on is finite."""
        return all(math.isfinite(value) for value in (self.loss, self.image_gradient_norm))

    def row(self) -> dict[str, Any]:
        """Return the report as a row of metrics; numbers that are not finite are null."""
        values = {name: _for_json(value) for name, value in self.values().items()}
        for name in ("skipped", "unusable"):
            if not values[name]:
                del values[name]
        return values

    def values(self) -> dict[str, Any]:
        """Return all numbers by name."""
        return dict(vars(self))

    def scalars(self) -> dict[str, float]:
        """Return TensorBoard's tags with their values (`telemetry.glossary`)."""
        return {
            "match/loss": self.loss,
            "match/relative_loss": self.relative_loss,
            "match/skipped": self.skipped,
            "gradient/images_norm": self.image_gradient_norm,
        }

    def note(self) -> str:
        """Return what progress shows."""
        return f"loss {self.relative_loss:.3f}"

    def describe_unit(self) -> str:
        """Return the words for the unit that was not used, in messages."""
        return f"an {self.unit}"


def _for_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [_for_json(one) for one in value] if isinstance(value, tuple) else value


class OuterOptimizer(Protocol):
    """An update rule of what is learned; its running quantities are tensors of the `State`."""

    def init(self, learned: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the running quantities before the first update, by name."""

    def is_outlier(self, state: State, gradients: Gradients, units: int) -> bool:
        """Tell whether one of ``units`` finite gradients is too far beyond the running scale to be used."""

    def update(self, state: State, gradients: Sequence[Gradients], mean: Gradients) -> dict[str, Tensor]:
        """Return the new values of what is learned and of the running quantities.

        Args:
            gradients: the usable units' gradients, at least one; mean: their mean.

        Raises:
            DivergenceError: something would not be finite, or alpha not positive; the message is the cause, its note
                the advice.
        """

    def absorb(self, state: State, gradients: Gradients) -> dict[str, Tensor]:
        """Take note of a unit that is not used, so that a lasting change of scale is followed."""


class Experts(Protocol):
    """A source of recorded trajectories."""

    def __len__(self) -> int:
        """Number of experts."""

    def segment(self, expert_id: int, start_epoch: int, length: int) -> list[Tensor]:
        """theta_t, ..., theta_{t+length}: ``length + 1`` vectors [P], and nothing else of the trajectory."""


@dataclass(frozen=True)
class Sources:
    """The givens of a distillation: what a method is built from.

    Attributes:
        config: the method's own settings.
        network: layout of the networks, on the device; its weights are free to be overwritten.
        labels: int64 [S], classes of the synthetic images, class by class.
        classes: number of classes K.
        experts: recorded trajectories; None for a method that needs none.
        real_images, real_labels: [n, C, H, W] in model space and int64 [n]; None for a method that needs none.
        engine: what student steps compute with; None = autograd.
        image_std: standard deviation of the real images, the unit of ``distill.step_img``.
    """

    config: Config
    network: Network
    labels: Tensor
    classes: int
    experts: Experts | None = None
    real_images: Images | None = None
    real_labels: Tensor | None = None
    engine: Engine | None = None
    image_std: float = 1.0


class Problem(ABC):
    """One distillation as a method sees it: its constants, and the steps that an iteration is made of."""

    @property
    @abstractmethod
    def outer(self) -> OuterOptimizer:
        """The update rule of what is learned."""

    @property
    def units(self) -> int:
        """Number of units W that an iteration averages over."""
        return 1

    @abstractmethod
    def begin(self, images: Tensor, student_lr: float) -> State:
        """Return the state before the first iteration.

        Args:
            images: initial images [S, C, H, W], copied; student_lr: alpha_0, for methods that learn it.
        """

    def draw(self, state: State, place: int) -> Draw:
        """Make the random choices of the unit at ``place`` of the next iteration, from streams named by numbers."""
        return Draw(state.iteration + 1, place)

    @abstractmethod
    def gradients(self, state: State, draw: Draw) -> Gradients:
        """Return a unit's loss and its gradients."""

    @abstractmethod
    def report(self, state: State, draws: Sequence[Draw], mean: Gradients) -> Report:
        """Return the iteration's numbers; `iterate` adds what was skipped."""

    def advance(self, state: State, draws: Sequence[Draw]) -> State:
        """Return the state after what follows an update (networks trained, draws remembered); by default nothing.

        Raises:
            DivergenceError: a network's weights are not finite.
        """
        return state

    def published(self, state: State) -> Mapping[str, Tensor]:
        """Return what is published: `IMAGES`, and `TARGETS` where there are some."""
        return {name: state.tensors[name] for name in (IMAGES, TARGETS) if name in state.tensors}

    def divergence(self, report: Report, cause: str, advice: str, draw: Draw | None = None) -> DivergenceError:
        """Return the error that ends a distillation at an iteration; ``draw`` is the unit it is about, if one is."""
        text = f"distillation stopped at iteration {report.iteration}: {cause}; {advice}"
        return DivergenceError(text, reason=cause, advice=advice, iteration=report.iteration)

    skip_advice: str = "lower distill.step_img (sgd: the method's lr_img)"
    """Advice where no unit is usable for too long."""

"""Seconds per step of experts, students and evaluations on this machine's processor, measured in about a second.

The steps are the run's own (network, image shape, batch, augmentation), on random images. A step too long for its share
of the second is measured on fewer images, and an expert's or student's step too long even for one image is counted as a
multiple of a plain one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.config.settings import Config, ExpertConfig
from ast_ray.core.augmentation import apply, draw, operations
from ast_ray.core.experts.training import train_expert
from ast_ray.core.methods.trajectory import TrajectoryMatching
from ast_ray.core.networks import Network, build
from ast_ray.core.parameters import flatten
from ast_ray.core.rng import stream
from ast_ray.core.training import score

_SHARE, _REPEATS = 0.08, 3
# Times of a plain step: an expert's with the penalty (docs/performance.md), a student's there and back.
_PENALTY, _STUDENT = 3.3, 4.0
_SCORED = 64
_RATE = 1e-6  # of all steps, so that none diverges, whatever the settings


class _Segment:
    """A trajectory of two epochs near the network's own weights."""

    def __init__(self, network: Network) -> None:
        theta = flatten(network)
        self._thetas = [theta, theta + 0.01 * torch.randn(theta.shape, generator=stream(0, "stopwatch", "expert"))]

    def __len__(self) -> int:
        return 1

    def segment(self, _expert_id: int, _start_epoch: int, length: int) -> list[Tensor]:
        """See `core.methods.base.Experts`."""
        return self._thetas[: length + 1]


class Stopwatch:
    """Step times of the network of ``config`` on images of shape (C, H, W), each measured when it is first asked for.

    Times are those of autograd on as many threads as the caller has set.
    """

    def __init__(self, config: Config, image_shape: tuple[int, int, int], classes: int) -> None:
        self._config = config
        self._classes = classes
        self._shape = image_shape
        self._network = build(config.network, image_shape, classes, stream(0, "stopwatch", "network"))
        self.training_step = cache(self._training_step)
        self.expert_step = cache(self._expert_step)
        self.student_step = cache(self._student_step)

    def _training_step(self, batch: int) -> float:
        """Seconds of one step of evaluation on ``batch`` images."""
        return _seconds(self._train, batch, self._image)

    def _expert_step(self, expert: ExpertConfig, images: int) -> float:
        """Seconds of one expert step where there are so many training images."""
        batch = min(expert.batch_size, images)
        factor = (_PENALTY if expert.penalty_weight else 1.0) * (2 if expert.sharpness_rho else 1)
        if factor * self._image > _SHARE:
            return factor * self.training_step(batch)

        def step(size: int) -> None:
            one = replace(expert, epochs=1, batch_size=size, lr=_RATE, expert_precision="float32")
            for _ in train_expert(self._network, *self._images(size), one, seed=0, expert_id=0):
                pass

        return _seconds(step, batch, factor * self._image)

    def _student_step(self, config: Config) -> float:
        """Seconds of one student step of a distillation, its share of the way back included."""
        total = config.distill.ipc * self._classes
        batch = min(config.distill.batch_size or total, total)
        image = _STUDENT * self._image
        if image > _SHARE:
            return _STUDENT * self.training_step(batch)
        steps = max(1, min(config.distill.syn_steps, int(_SHARE / (image * batch))))
        settings = replace(
            config.distill, syn_steps=steps, expert_epochs=1, max_start_epoch=1, beta_strategy="final", batch_size=0,
            segments=1, gradient="recompute", precision="float32",
        )  # fmt: skip

        def step(size: int) -> None:
            images, labels = self._images(size)
            problem = TrajectoryMatching(self._network, labels, _Segment(self._network), settings, 0)
            state = problem.begin(images, _RATE)
            problem.gradients(state, problem.draw(state, 0))

        return _seconds(step, batch, image * steps) / steps

    @cached_property
    def scored_image(self) -> float:
        """Seconds that scoring takes per image."""

        def step(size: int) -> None:
            score(self._network, *self._images(size))

        return _seconds(step, _SCORED, self._image / 3) / _SCORED

    @cached_property
    def _image(self) -> float:
        """Seconds of a plain step on a single image: a first idea of what one image takes."""
        return _seconds(self._train, 1, _SHARE)

    def _train(self, size: int) -> None:
        """A step of evaluation but for its optimizer, whose import alone takes a second."""
        images, labels = self._images(size)
        names, (_, height, width) = operations(self._config.distill.augmentation), self._shape
        chosen = draw(names, size, (height, width), stream(0, "stopwatch", "augmentation"))
        F.cross_entropy(self._network(apply(images, chosen)), labels).backward()
        self._network.zero_grad()

    def _images(self, count: int) -> tuple[Tensor, Tensor]:
        images = torch.randn(count, *self._shape, generator=stream(0, "stopwatch", "images"))
        return images, torch.arange(count) % self._classes


def _timed(step: Callable[[int], None], size: int) -> float:
    began = time.perf_counter()
    step(size)
    return max(time.perf_counter() - began, 1e-6)


def _seconds(step: Callable[[int], None], batch: int, image: float) -> float:
    """Seconds of ``step`` on a batch, the least of a few; on fewer images where a batch takes longer than its share.

    ``image`` is about what one image takes.
    """
    size = max(1, min(batch, int(_SHARE / image)))
    step(size)  # libraries load and choose their algorithms
    left, times = _SHARE, list[float]()
    while left > 0 and len(times) < _REPEATS:
        times.append(_timed(step, size))
        left -= times[-1]
    return min(times) * batch / size

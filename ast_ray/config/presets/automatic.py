"""A sensible configuration for any images, from what they are and how many are wanted per class.

A cell of the published tables gets its published preset. Anything else gets settings of our own, whose outer steps and
alpha_0 carry no scale of a dataset: up to 10,000 training images a small run that a processor finishes in minutes,
beyond that the network, student and experts of the most similar published cell.
"""

from __future__ import annotations

import dataclasses
import math
import re

from ast_ray.config.datasets import DatasetFacts
from ast_ray.config.presets.cells import cells
from ast_ray.config.presets.demo import digits
from ast_ray.config.presets.published import preset_name, published_presets
from ast_ray.config.settings import Config, DistillConfig, EvaluateConfig, ExpertConfig, NetworkConfig

SMALL_IMAGES = 10_000
SMALL_SIDE = 32
SMALL_ITERATIONS = 200
LARGEST_WHOLE_SET = 1000
_SMALL_BATCH = 100
# Expert steps wanted in the epochs a student has to cover (M), and in those matching starts from (T+ - 1).
_COVERED_STEPS, _START_STEPS = 24, 64
_STEPS_PER_EPOCH = 10
_LARGEST_BATCH = 256
_MOST_EPOCHS_COVERED = 8


def automatic(facts: DatasetFacts, ipc: int) -> Config:
    """Choose settings for a dataset and ``ipc``; ``data`` opens it by name, for other sources replace ``data.source``.

    >>> automatic(DatasetFacts("mine", 3, 3, 128, 240, 60), 1).network.width
    32
    """
    if facts.name == "digits":
        base = digits()
        distill = dataclasses.replace(base.distill, ipc=ipc)
        return dataclasses.replace(base, preset="digits" if ipc == 1 else f"digits-ipc{ipc}", distill=distill)
    if facts.train <= SMALL_IMAGES:
        return _small(facts, ipc)
    return _nearest_cell(facts, ipc)


def similar_cells(facts: DatasetFacts) -> str:
    """The published dataset that is most like this one: by pixels per side, and at 32 px by the number of classes."""
    if facts.cells:
        return facts.cells
    if facts.image_size <= 48:
        return "cifar10" if facts.classes <= 32 else "cifar100"
    return "tiny" if facts.image_size <= 96 else "nette"


def depth_for(side: int) -> int:
    """Blocks that leave about 4x4 positions, never fewer than one or more than 5: 3 for 28 and 32 px, 5 for 128."""
    return max(1, min(5, round(math.log2(side / 4))))


def _network(facts: DatasetFacts, side: int) -> NetworkConfig:
    """Return the ConvNet for images of ``side`` px; grey ones of 28 px are padded to 32 as in the literature's code."""
    return NetworkConfig(depth=depth_for(side), first_padding=3 if facts.channels == 1 and side == 28 else 1)


def _name(facts: DatasetFacts, ipc: int) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", facts.name.lower()).strip("-")[-40:] or "images"
    return f"{slug}-ipc{ipc}"


def _nearest_cell(facts: DatasetFacts, ipc: int) -> Config:
    dataset = similar_cells(facts)
    nearest = min((n for name, n in cells() if name == dataset), key=lambda n: (abs(math.log(n / ipc)), n))
    base = published_presets()[preset_name("ast", dataset, nearest)]()
    if facts.cells and nearest == ipc:
        return base
    data = base.data
    network = base.network
    expert = base.expert
    distill = base.distill
    if not facts.cells:
        data, network = facts.data, _network(facts, facts.image_size)
        expert = dataclasses.replace(expert, augmentation=facts.augmentation)
        distill = dataclasses.replace(distill, augmentation=facts.augmentation)
    total = ipc * facts.classes
    batch = distill.batch_size if distill.batch_size < total else 0
    if not batch and total > LARGEST_WHOLE_SET:
        batch = LARGEST_WHOLE_SET // 2
    name = preset_name("ast", dataset, ipc) if facts.cells else _name(facts, ipc)
    scale_free = DistillConfig()
    distill = dataclasses.replace(
        distill,
        ipc=ipc,
        batch_size=batch,
        outer=scale_free.outer,
        lr_img=scale_free.lr_img,
        lr_lr=scale_free.lr_lr,
        student_lr=scale_free.student_lr,
    )
    return dataclasses.replace(base, preset=name, data=data, network=network, expert=expert, distill=distill)


def _small(facts: DatasetFacts, ipc: int) -> Config:
    """Our own values, from those of `digits` (8 px, grey) and `cifar10_cpu` (32 px, colour).

    At most 32 px, width 32, 4 experts. The fewer images there are, the smaller the batches; where an epoch still has
    few steps, the student covers more epochs and starts from more of them, so that the steps an expert takes are about
    those of `cifar10_cpu`. The experts' rate falls with the batch: at one rate small batches drive them along noise,
    which no student can follow. The penalty weighs 0.1 as in `digits`: at 1 it drives experts of few images along paths
    that no student follows (docs/odd-data.md's set of two classes: 69 % with 1, 87 % with 0.1).
    """
    side = min(facts.image_size, SMALL_SIDE)
    batch = _batch_of(facts.train)
    steps = -(-facts.train // batch)
    ahead = min(_MOST_EPOCHS_COVERED, max(2, round(_COVERED_STEPS / steps)))
    starts = max(5, round(_START_STEPS / steps))
    epochs = max(12, starts - 1 + ahead)
    total = ipc * facts.classes
    return Config(
        preset=f"{facts.name}-small-ipc{ipc}" if facts.cells else _name(facts, ipc),
        data=dataclasses.replace(facts.data, image_size=0 if side == facts.image_size else side),
        network=dataclasses.replace(_network(facts, side), width=32),
        expert=ExpertConfig(
            count=4,
            epochs=epochs,
            lr=_rate_for(batch),
            batch_size=batch,
            lr_decay_epoch=epochs // 2,
            penalty_weight=0.1,
            augmentation=facts.augmentation,
        ),
        distill=DistillConfig(
            ipc=ipc,
            iterations=SMALL_ITERATIONS,
            syn_steps=15,
            expert_epochs=ahead,
            max_start_epoch=starts,
            batch_size=0 if total <= _SMALL_BATCH else _SMALL_BATCH,
            rho=0.01,
            augmentation=facts.augmentation,
            validate_every=50,
        ),
        evaluate=EvaluateConfig(full_epochs=20),
    )


def _batch_of(images: int) -> int:
    """Return the largest power of two that leaves about ten steps per epoch, between 8 and 256.

    >>> [_batch_of(images) for images in (45, 200, 1000, 2560)]
    [8, 16, 64, 256]
    """
    return min(_LARGEST_BATCH, max(8, 1 << max(0, (images // _STEPS_PER_EPOCH).bit_length() - 1)))


def _rate_for(batch: int) -> float:
    """Return the experts' learning rate: in proportion to the batch, 0.01 at 256 as in `cifar10_cpu`, at least 0.001.

    >>> [_rate_for(batch) for batch in (8, 64, 128, 256)]
    [0.001, 0.0025, 0.005, 0.01]
    """
    return max(0.001, 0.01 * batch / _LARGEST_BATCH)

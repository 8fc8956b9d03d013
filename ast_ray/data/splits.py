"""Which rows train, which validate. The same seed gives the same rows; every class keeps its share."""

from __future__ import annotations

import torch
from torch import Tensor

from ast_ray.errors import ConfigError, Problem


def split_rows(labels: Tensor, *, validation_size: int, train_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out validation rows, then keep a training subset; both stratified.

    Args:
        labels: int64 [n]; validation_size: 0 = a tenth; train_size: 0 = all that is left.

    Returns:
        Training rows and validation rows, sorted.

    Raises:
        ConfigError: more rows asked for than there are, or fewer than one per class.
    """
    classes = int(labels.max()) + 1
    held = validation_size or max(classes, len(labels) // 10)
    problems = [
        Problem(name, size, f"at least one image per class: {classes}")
        for name, size in (("data.validation_size", held), ("data.train_size", train_size or classes))
        if size < classes
    ]
    if held + (train_size or classes) > len(labels):
        largest = len(labels) - held
        reason = f"the training split has {len(labels)} images, {held} of them held out; largest valid: {largest}"
        problems.append(Problem("data.train_size", train_size, reason))
    if problems:
        raise ConfigError(problems)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    validation = _stratified(labels, order, held, classes)
    rest = order[~torch.isin(order, validation)]
    train = _stratified(labels, rest, train_size, classes) if train_size else rest
    return train.sort().values, validation.sort().values


def _stratified(labels: Tensor, order: Tensor, size: int, classes: int) -> Tensor:
    """Take ``size`` rows of ``order``, class by class in turn, so that classes differ by one row at most."""
    queues = [order[labels[order] == label] for label in range(classes)]
    depth = max(len(queue) for queue in queues)
    turns = [queue[turn] for turn in range(depth) for queue in queues if turn < len(queue)]
    return torch.stack(turns[:size])

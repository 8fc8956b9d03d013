"""Which rows train, which validate. The same seed gives the same rows; every class keeps its share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ast_ray.data.sources.chunks import Chunk
from ast_ray.errors import ConfigError, DataError, Problem

_LEAST = 3


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
    held, least = validation_size or max(classes, len(labels) // 10), train_size or classes
    problems = [
        Problem(name, size, f"at least one image per class: {classes}")
        for name, size in (("data.validation_size", held), ("data.train_size", least))
        if size < classes
    ]
    whole = f"the training split has {len(labels)} images"
    if 2 * classes > len(labels):
        reason = f"{whole} in {classes} classes; one of each class is trained on and one held out, {2 * classes} in all"
        problems.append(Problem("data.validation_size", validation_size, reason))
    elif held + classes > len(labels):
        reason = f"{whole}, at least one per class is trained on; largest valid: {len(labels) - classes}"
        problems.append(Problem("data.validation_size", validation_size, reason))
    elif held + least > len(labels):
        reason = f"{whole}, {held} of them held out; largest valid: {len(labels) - held}"
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


def held_out(
    name: str, chunks: Sequence[Chunk], class_names: Sequence[str], fraction: float
) -> tuple[tuple[Chunk, ...], tuple[Chunk, ...]]:
    """Split chunks into training and test ones: the same ``fraction`` of every class, at least one image.

    The choice depends on the labels' order alone, not on any seed of the settings: runs that differ in ``split_seed``
    share one test split.

    Raises:
        DataError: a class has too few images for a training, a validation and a test image.
    """
    labels = torch.tensor([label for chunk in chunks for label in chunk.labels])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    test = torch.zeros(len(labels), dtype=torch.bool)
    small = []
    for label, class_name in enumerate(class_names):
        members = order[labels[order] == label]
        if len(members) < _LEAST:
            small.append(f"{class_name} ({len(members)})")
            continue
        count = min(max(1, round(fraction * len(members))), len(members) - _LEAST + 1)
        test[members[:count]] = True
    if small:
        raise DataError(
            f"{name}: {len(small)} classes have fewer than {_LEAST} images (one each to train, validate and test): "
            f"{', '.join(small[:5])}"
        )
    parts: tuple[list[Chunk], list[Chunk]] = ([], [])
    start = 0
    for chunk in chunks:
        chosen = test[start : start + len(chunk.labels)]
        start += len(chunk.labels)
        for wanted, kept in ((False, parts[0]), (True, parts[1])):
            places = torch.nonzero(chosen == wanted).flatten().tolist()
            if places:
                kept.append(chunk.take(places))
    return tuple(parts[0]), tuple(parts[1])

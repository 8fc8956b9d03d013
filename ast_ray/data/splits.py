"""Rows for training and for validation. The same seed gives the same rows; every class keeps its share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ast_ray.data.sources.chunks import Chunk
from ast_ray.errors import ConfigError, DataError, Problem, counted

_LEAST = 3
_NAMED = 5


def split_rows(labels: Tensor, *, validation_size: int, train_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out validation rows, then keep a training subset; both stratified.

    Every class keeps at least one training row, and at least half of its rows where other classes can fill the
    validation split. A class of one row is trained on only.

    Args:
        labels: int64 [n]; validation_size: 0 = a tenth; train_size: 0 = all that is left.

    Returns:
        Training rows and validation rows, sorted.

    Raises:
        ConfigError: more rows asked for than there are, or fewer than one per class.
        DataError: no class can spare a row for validation.
    """
    classes = int(labels.max()) + 1
    held = _checked_sizes(len(labels), classes, validation_size, train_size)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    counts = torch.bincount(labels, minlength=classes).tolist()
    none, halves = [0] * classes, [count // 2 for count in counts]
    queues = _queues(labels, order, classes)
    taken = _turns(queues, none, halves) + _turns(queues, halves, [count - 1 for count in counts])
    validation = torch.tensor(taken[:held])
    rest = order[~torch.isin(order, validation)]
    train = rest
    if train_size:
        train = torch.tensor(_turns(_queues(labels, rest, classes), none, counts)[:train_size])
    return train.sort().values, validation.sort().values


def _checked_sizes(images: int, classes: int, validation_size: int, train_size: int) -> int:
    """Return how many rows to hold out, or raise what `split_rows` raises."""
    spare = images - classes  # one image of every class stays for training
    if spare < 1:
        raise DataError(
            f"the training split has one image of each of its {classes} classes, so that none can be held out to "
            f"validate; least: 2 training images of a class ({_LEAST} images where the test split is held out of them)"
        )
    least = min(classes, spare)
    held = validation_size or min(max(classes, images // 10), spare)
    # Of two sizes that do not fit together, train_size is the one named, unless validation_size fits with none.
    alone = least <= held <= spare or not classes <= train_size <= images - least
    largest = spare if alone else images - train_size
    valid = min(max(held, least), largest)
    have = f"the training split has {counted(images, 'image')} of {counted(classes, 'class')}"
    problems = []
    if held < least:
        problems.append(Problem("data.validation_size", held, f"at least one image per class; smallest valid: {least}"))
    elif held > largest:
        reason = f"{have}, and some of each class have to stay for training; largest valid: {largest}"
        problems.append(Problem("data.validation_size", held, reason))
    if train_size and train_size < classes:
        reason = f"at least one image per class; smallest valid: {classes} (0 = all)"
        problems.append(Problem("data.train_size", train_size, reason))
    elif train_size > images - valid:
        reason = f"{have}; with {valid} held out to validate the largest valid is {images - valid} (0 = all)"
        problems.append(Problem("data.train_size", train_size, reason))
    if problems:
        raise ConfigError(problems)
    return held


def _queues(labels: Tensor, order: Tensor, classes: int) -> list[list[int]]:
    """List the rows of each class as they come in ``order``."""
    return [order[labels[order] == label].tolist() for label in range(classes)]


def _turns(queues: Sequence[Sequence[int]], first: Sequence[int], last: Sequence[int]) -> list[int]:
    """Draw from the classes in turn, so that they differ by one row at most; of each, places ``first`` to ``last``."""
    return [
        queue[turn]
        for turn in range(max(last))
        for queue, low, high in zip(queues, first, last, strict=True)
        if low <= turn < min(high, len(queue))
    ]


def trained_only(class_names: Sequence[str], validation: Tensor, test: Tensor) -> tuple[str, ...]:
    """Return one line that names the classes missing from the labels of a split; no line if each split has all."""
    lacking: dict[str, list[str]] = {}
    present = {"validation": set(validation.tolist()), "test": set(test.tolist())}
    for label, name in enumerate(class_names):
        missing = " or ".join(split for split, labels in present.items() if label not in labels)
        if missing:
            lacking.setdefault(missing, []).append(name)
    told = [f"{_listed(names)} without {split} images" for split, names in lacking.items()]
    return (f"classes with too few images for every split: {'; '.join(told)}",) if told else ()


def _listed(names: Sequence[str]) -> str:
    """Return the first names and how many follow."""
    left = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {left} more" if left > 0 else "")


def held_out(
    name: str, chunks: Sequence[Chunk], class_names: Sequence[str], fraction: float
) -> tuple[tuple[Chunk, ...], tuple[Chunk, ...]]:
    """Split chunks into training and test ones: the same ``fraction`` of every class, at least one image.

    A class of one image is not tested. The choice depends on the labels' order alone, not on any seed of the settings:
    runs that differ in ``split_seed`` share one test split.

    Raises:
        DataError: no class has enough images for a training, a validation and a test image.
    """
    labels = torch.tensor([label for chunk in chunks for label in chunk.labels])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    test = torch.zeros(len(labels), dtype=torch.bool)
    counts = torch.bincount(labels, minlength=len(class_names)).tolist()
    if max(counts) < _LEAST:
        raise DataError(
            f"{name}: no class has more than {counted(max(counts), 'image')}; at least one class needs {_LEAST} "
            "(one each to train, validate and test)"
        )
    for label, size in enumerate(counts):
        members = order[labels[order] == label]
        test[members[: min(max(1, round(fraction * size)), max(size - _LEAST + 1, size // 2))]] = True
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

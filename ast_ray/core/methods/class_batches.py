"""Batches of real images class by class: rows from a stream per class, and all of them read in one go.

DC, DSA, DM and CAFE compare the synthetic images of a class with real ones of that class, drawn anew every iteration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ast_ray.core.images import Images
from ast_ray.core.rng import stream


def draw_class_rows(members: Sequence[Tensor], batch: int, seed: int, *name: str | int) -> dict[int, Tensor]:
    """Draw up to ``batch`` rows of every class without replacement: {class: rows int64 [B_c]}, classes ascending.

    Args:
        members: rows of each class, int64 [n_c] on the CPU (`core.selection.rows_by_class`), computed once.
        batch: B_c = min(batch, n_c): a class with fewer images gives all it has.
        name: class c draws from ``stream(seed, *name, c)``, so that no class depends on another;
            ``"distill", iteration, "real"`` for the batches that are matched.
    """
    rows = {}
    for label, own in enumerate(members):
        order = torch.randperm(len(own), generator=stream(seed, *name, label))
        rows[label] = own[order[:batch]]
    return rows


def gather_classes(images: Images, rows: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Images [B_c, C, H, W] of each class at its rows [B_c], in model space on the device: one read for all classes."""
    found = images[torch.cat(list(rows.values())).to(images.device)]
    pieces = found.split([len(own) for own in rows.values()])
    return dict(zip(rows, pieces, strict=True))

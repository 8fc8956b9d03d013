"""The distance between two gradients of a network, row by row, and its derivative: what DC and DSA match.

A row is everything that feeds one output unit: the [in*k*k] entries of a filter, the [in] entries of a linear unit.
For a = g_s, the gradient on synthetic images, and b = g_r, that on real ones, with d = ||a|| ||b|| + 1e-6 per row:

    D = sum over rows of 1 - <a, b> / d            dD/da = -b / d + <a, b> ||b|| a / (||a|| d^2)

The sum runs over tensors of more than one dimension: biases and norm layers' weights count nothing. (Zhao, Mopuri and
Bilen, ICLR 2021; the 1e-6 beside the product of norms is that of the authors' code, and damps rows whose gradients are
both below 1e-3.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from ast_ray.core.parameters import FlatSpec

_EPSILON = 1e-6


def number_of_rows(spec: FlatSpec) -> int:
    """Count the rows: D lies between 0 and twice their number, and orthogonal gradients give their number."""
    return sum(shape[0] for shape in spec.shapes if len(shape) > 1)


def gradient_distance(spec: FlatSpec, synthetic: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return D, a 0-dim tensor, and dD/da [P] for the gradients ``synthetic`` (a) and ``real`` (b), both [P].

    Neither has a graph. The derivative is 0 for tensors of one dimension. A row with a = 0 adds 1 to D, and its
    derivative is the first term alone, -b / 1e-6. Gradients that are not finite give a D that is not.
    """
    a_views, b_views = spec.views(synthetic.detach()), spec.views(real.detach())
    total, derivatives = synthetic.new_zeros(()), []
    for name, shape in zip(spec.names, spec.shapes, strict=True):
        if len(shape) < 2:
            derivatives.append(synthetic.new_zeros(shape.numel()))
            continue
        a, b = a_views[name].flatten(1), b_views[name].flatten(1)
        a_norm, b_norm = (torch.linalg.vector_norm(side, dim=1) for side in (a, b))
        product, below = (a * b).sum(1), a_norm * b_norm + _EPSILON
        total = total + (1 - product / below).sum()
        # A row with ||a|| = 0 has <a, b> = 0 as well: only the first term is left.
        # In this order no quotient of tiny norms overflows.
        direction = a / torch.where(a_norm > 0, a_norm, 1)[:, None]
        along = (product / below) * (b_norm / below)
        derivatives.append((along[:, None] * direction - b / below[:, None]).flatten())
    return total, torch.cat(derivatives)

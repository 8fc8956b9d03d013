"""The pool of networks that FRePo's features come from: trained on the set as it grows, replaced when they are old.

Member i begins fresh with age 10*i for a pool of ten (ages spread over ``max_age``), so that members are replaced one
after the other. A visit trains a member for one step of Adam, or, where its age is beyond ``max_age``, replaces it by
a fresh network of age 0. Members that are not visited keep their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ast_ray.core.methods.fresh import fresh_weights
from ast_ray.core.methods.optimizers import Adam
from ast_ray.core.methods.ridge import regression_loss
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, call
from ast_ray.core.rng import stream
from ast_ray.errors import advised

WEIGHTS = "pool"
"""The members' weights [M, P], in the state."""
MEAN, SQUARE = "pool_mean", "pool_square"
"""Adam's moments of theirs, both [M, P]."""
AGES, LIVES = "pool_age", "pool_life"
"""Steps that a member was trained, and the networks it has been, both int64 [M]."""
_ROWS = 1000
"""Images of the set in one step at most."""


@dataclass(frozen=True)
class Pool:
    """The rules of a pool: its network's layout, size, rate of Adam and largest age."""

    network: Network
    members: int
    lr: float
    max_age: int
    seed: int

    def begin(self, like: Tensor) -> dict[str, Tensor]:
        """Return weights and Adam's moments [M, P] on the device of ``like``, ages and lives int64 [M]."""
        weights = torch.stack([self._fresh(member, 0).to(like) for member in range(self.members)])
        ages = torch.arange(self.members, device=like.device) * self.max_age // self.members
        return {
            WEIGHTS: weights,
            MEAN: torch.zeros_like(weights),
            SQUARE: torch.zeros_like(weights),
            AGES: ages,
            LIVES: torch.zeros_like(ages),
        }

    def visit(
        self, pool: Mapping[str, Tensor], member: int, images: Tensor, targets: Tensor, iteration: int
    ) -> dict[str, Tensor]:
        """Train a member on the set or replace it; return all tensors of the pool, the given ones unchanged.

        Args:
            images: [S, C, H, W]; targets: Y [S, K], which the member's own linear layer learns: mean 1/2||W(x) - Y||^2.

        Raises:
            DivergenceError: the member's weights stop being finite.
        """
        found = {name: pool[name].clone() for name in (WEIGHTS, MEAN, SQUARE, AGES, LIVES)}
        if int(found[AGES][member]) > self.max_age:
            found[LIVES][member] += 1
            found[WEIGHTS][member] = self._fresh(member, int(found[LIVES][member])).to(found[WEIGHTS])
            for name in (MEAN, SQUARE, AGES):
                found[name][member] = 0
            return found
        found[AGES][member] += 1
        generator = stream(self.seed, "distill", iteration, "pool")
        rows = torch.randperm(len(images), generator=generator)[:_ROWS].to(images.device)
        theta = found[WEIGHTS][member].clone().requires_grad_()
        answers = call(self.network, FlatSpec.of(self.network), theta, images[rows])
        (gradient,) = torch.autograd.grad(regression_loss(answers, targets[rows].to(answers)), theta)
        step = int(found[AGES][member]) - self._first_age(member, int(found[LIVES][member]))
        moments = (found[MEAN][member].clone(), found[SQUARE][member].clone())
        theta, moments = Adam(self.lr).update(theta.detach(), gradient, moments, step)
        if not all(bool(torch.isfinite(one).all()) for one in (theta, *moments)):
            cause = f"weights or moments of member {member} of the pool stop being finite"
            raise advised(cause, "lower feature_regression.lr_net")
        found[WEIGHTS][member] = theta
        found[MEAN][member], found[SQUARE][member] = moments
        return found

    def _first_age(self, member: int, life: int) -> int:
        """Return the age that a life began with."""
        return member * self.max_age // self.members if life == 0 else 0

    def _fresh(self, member: int, life: int) -> Tensor:
        return fresh_weights(self.network, stream(self.seed, "pool", member, life))

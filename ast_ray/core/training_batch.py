"""Several fresh networks trained at once on one small set, each as `core.training.train_network` would train it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ast_ray.core.augmentation import apply, draw, operations
from ast_ray.core.images import Images
from ast_ray.core.networks import Network
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.training import Recipe, TrainingAccuracy
from ast_ray.core.vmapped import batches, call_stacked, rows_of, stack


def train_networks_together(
    networks: Sequence[Network],
    images: Images,
    labels: Tensor,
    recipe: Recipe,
    generators: Sequence[torch.Generator],
    watches: Sequence[TrainingAccuracy] = (),
) -> list[float]:
    """Train the networks in place on images [n, C, H, W], labels int64 [n], each with its own generator's draws.

    Equal to one after the other to float tolerance. Networks must be functions of their parameters alone
    (`core.vmapped.stackable`). Returns the last loss of each: one that is not finite is that network's divergence
    (`core.training.require_finite_loss`) and leaves the others as they would have been. ``watches`` record each
    network's training accuracy; empty for none.
    """
    template, spec = networks[0].train(), FlatSpec.of(networks[0])
    theta = stack(networks).requires_grad_()
    optimizer = torch.optim.SGD(
        [theta], lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )
    names, size = operations(recipe.augmentation), (images.shape[2], images.shape[3])
    losses = torch.zeros(len(networks))
    for number in range(recipe.passes):
        if recipe.lr_decay_pass and number == recipe.lr_decay_pass:
            optimizer.param_groups[0]["lr"] = recipe.lr * recipe.lr_decay_factor
        for rows in batches(len(images), recipe.batch_size, generators):
            index = rows.to(images.device)
            draws = [draw(names, rows.shape[1], size, own, siamese=recipe.siamese) for own in generators]
            own_batches = zip(rows_of(images, index), draws, strict=True)
            x = torch.stack([apply(batch, chosen) for batch, chosen in own_batches])
            logits = call_stacked(template, spec, theta, x)
            if watches:
                for watch, answers, chosen_labels in zip(watches, logits, labels[index], strict=True):
                    watch.add(number, answers, chosen_labels)
            entropy = F.cross_entropy(logits.flatten(0, 1), labels[index].flatten(), reduction="none")
            losses = entropy.unflatten(0, index.shape).mean(1)
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
    for network, weights in zip(networks, theta.detach(), strict=True):
        load(network, spec, weights)
    return losses.tolist()

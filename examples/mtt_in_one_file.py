"""Matching Training Trajectories in one file of plain torch (Cazenavette et al., CVPR 2022; arXiv 2203.11932).

    python examples/mtt_in_one_file.py

Distils scikit-learn's digits to one image per class, in less than a minute on one core. Nothing of the package is
imported: this is the method as a newcomer may read it. The package computes the same (a test holds one iteration of
this file against `core/methods/trajectory.py`), with the gradient in constant memory, and adds what is left out here:
differentiable augmentation, validation, checkpoints, many workers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call

EXPERTS = 4
EPOCHS = 12
EXPERT_LR = 0.05
ITERATIONS = 100
STUDENT_STEPS = 10  # N
EXPERT_EPOCHS = 2  # M
MAX_START_EPOCH = 8  # T+
STUDENT_LR = 0.05  # alpha_0
LR_IMG = 100.0
LR_LR = 1e-4
MOMENTUM = 0.5


class ConvNet(nn.Module):
    """D blocks of [3x3 convolution, instance norm, ReLU, 2x2 average pooling], then one linear layer."""

    def __init__(self, channels: int, size: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for block in range(depth):
            inputs = channels if block == 0 else width
            blocks += [nn.Conv2d(inputs, width, 3, padding=1), nn.GroupNorm(width, width), nn.ReLU(), nn.AvgPool2d(2)]
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width * (size >> depth) ** 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> logits [B, K]."""
        logits: Tensor = self.classifier(self.blocks(x).flatten(1))
        return logits


def flat(network: nn.Module) -> Tensor:
    """Return the network's weights as one vector theta [P]."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def loss(network: nn.Module, theta: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the network with weights theta [P]; differentiable in theta and in the images."""
    weights, place = {}, 0
    for name, parameter in network.named_parameters():
        weights[name] = theta[place : place + parameter.numel()].view_as(parameter)
        place += parameter.numel()
    return F.cross_entropy(functional_call(network, weights, images), labels)


def train(network: nn.Module, theta: Tensor, images: Tensor, labels: Tensor, lr: float, epochs: int) -> list[Tensor]:
    """Train by plain SGD in batches of 64; return the weights after 0, 1, ..., ``epochs`` epochs: a trajectory."""
    trajectory = [theta]
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            theta = theta.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(network, theta, images[rows], labels[rows]), theta)
            theta = (theta - lr * gradient).detach()
        trajectory.append(theta)
    return trajectory


def matching_loss(
    network: nn.Module, images: Tensor, labels: Tensor, alpha: Tensor, start: Tensor, target: Tensor, steps: int
) -> Tensor:
    """Let a student take ``steps`` steps on the synthetic images, and compare where it arrives with the expert.

    The student begins at the expert's weights of epoch t (``start``) and should arrive at those of epoch t + M
    (``target``). The squared distance left is divided by that of the start: 1 means that nothing was covered.
    """
    theta = start.detach().requires_grad_()
    for _ in range(steps):
        # create_graph keeps each step differentiable, so that the loss reaches the images through all of them.
        (gradient,) = torch.autograd.grad(loss(network, theta, images, labels), theta, create_graph=True)
        theta = theta - alpha * gradient
    return (theta - target).square().sum() / (start - target).square().sum()


class Distillation:
    """Images [S, C, H, W] and the student's rate alpha, which are learned, and the momentum of both."""

    def __init__(self, images: Tensor, labels: Tensor, alpha: float, lr_img: float, lr_lr: float) -> None:
        self.images = images.clone().requires_grad_()
        self.alpha = torch.tensor(alpha, dtype=images.dtype).requires_grad_()
        self.labels = labels
        groups = [{"params": [self.images], "lr": lr_img}, {"params": [self.alpha], "lr": lr_lr}]
        self.optimizer = torch.optim.SGD(groups, momentum=MOMENTUM)

    def iterate(self, network: nn.Module, trajectory: Sequence[Tensor], start: int, ahead: int, steps: int) -> float:
        """Match the segment of a trajectory from epoch ``start`` to ``start + ahead``; return the matching loss."""
        theta, target = trajectory[start], trajectory[start + ahead]
        found = matching_loss(network, self.images, self.labels, self.alpha, theta, target, steps)
        self.images.grad, self.alpha.grad = torch.autograd.grad(found, (self.images, self.alpha))
        self.optimizer.step()
        if not torch.isfinite(self.images).all() or not 0 < self.alpha.item() < float("inf"):
            raise ArithmeticError("the iteration diverged: lower LR_IMG or LR_LR")
        return found.item()


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training and test images [n, 1, 8, 8] with mean 0 and standard deviation 1, and their labels [n]."""
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None]
    images, labels = (images - images.mean()) / images.std(), torch.tensor(found.target)
    return images[:1297], labels[:1297], images[1297:], labels[1297:]


def fresh() -> ConvNet:
    """Return an untrained network for the digits."""
    return ConvNet(channels=1, size=8, classes=10, width=16, depth=2)


def accuracy(images: Tensor, labels: Tensor, lr: float, test_images: Tensor, test_labels: Tensor) -> float:
    """Train a fresh network on a set and return its accuracy on the test images."""
    network = fresh()
    theta = train(network, flat(network), images.detach(), labels, lr, 300)[-1]
    nn.utils.vector_to_parameters(theta, network.parameters())
    with torch.no_grad():
        return float((network(test_images).argmax(1) == test_labels).float().mean())


def main() -> None:
    """Train the experts, distil, and compare the images with the real ones that they began as."""
    torch.manual_seed(0)
    images, labels, test_images, test_labels = digits()
    network = fresh()
    experts = [train(network, flat(fresh()), images, labels, EXPERT_LR, EPOCHS) for _ in range(EXPERTS)]
    first = torch.stack([torch.nonzero(labels == label)[0, 0] for label in range(10)])
    learned = Distillation(images[first], labels[first], STUDENT_LR, LR_IMG, LR_LR)
    for iteration in range(1, ITERATIONS + 1):
        expert = experts[int(torch.randint(EXPERTS, ()))]
        start = int(torch.randint(MAX_START_EPOCH, ()))
        found = learned.iterate(network, expert, start, EXPERT_EPOCHS, STUDENT_STEPS)
        if iteration % 20 == 0:
            print(f"iteration {iteration}: matching loss {found:.3f}, alpha {learned.alpha.item():.4f}")
    for name, its_images in (("real images", images[first]), ("distilled images", learned.images)):
        score = accuracy(its_images, learned.labels, learned.alpha.item(), test_images, test_labels)
        print(f"test accuracy of a network trained on {name}: {score:.1%}")


if __name__ == "__main__":
    main()

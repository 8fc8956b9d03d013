"""The one-file reference of MTT computes what the package computes, and stands on its own."""

from __future__ import annotations

import ast
import dataclasses

import pytest
import torch

from ast_ray.config import Config
from ast_ray.config.methods import as_mtt
from ast_ray.core.methods.iteration import iterate
from ast_ray.core.methods.trajectory import TrajectoryMatching
from ast_ray.core.parameters import flatten
from ast_ray.core.rng import stream
from examples import mtt_in_one_file as reference
from tests.core.recorded import CONFIG, Recorded


def test_iterations_are_the_packages(make_network, make_images):
    """Three iterations from one state, in float64, the second and third with momentum: images and alpha agree."""
    network, (images, labels) = make_network(depth=2), make_images()
    theirs = reference.ConvNet(3, 8, 3, width=4, depth=2).double()
    shapes = [[(name, one.shape) for name, one in found.named_parameters()] for found in (network, theirs)]
    assert shapes[0] == shapes[1]

    experts = Recorded(flatten(network), count=2)
    settings = as_mtt(Config(distill=dataclasses.replace(CONFIG, augmentation="none", outer_momentum=0.5))).distill
    problem = TrajectoryMatching(network=network, labels=labels, experts=experts, config=settings, seed=0)
    state = problem.begin(images, settings.student_lr)
    ours = reference.Distillation(images, labels, settings.student_lr, settings.lr_img, settings.lr_lr)
    for _ in range(3):
        state, report = iterate(problem, state)
        trajectory = experts.trajectories[report.expert_id]
        found = ours.iterate(theirs, trajectory, report.start_epoch, settings.expert_epochs, settings.syn_steps)
        assert found == pytest.approx(report.loss, rel=1e-8)
        moved = (state.images - images).norm()
        assert float((ours.images - state.images).detach().norm()) <= 1e-8 * float(moved)
        change = float(state.student_lr) - settings.student_lr
        assert ours.alpha.item() - settings.student_lr == pytest.approx(change, rel=1e-8)
    assert float(moved) > 0


def test_a_trajectory_is_that_of_sgd(make_images):
    """One batch per epoch: the steps of torch's own optimizer."""
    images, labels = make_images()
    network = reference.ConvNet(3, 8, 3, width=4, depth=1).double()
    theta = torch.randn(reference.flat(network).shape, generator=stream(0, "weights"), dtype=torch.float64)
    torch.nn.utils.vector_to_parameters(theta.clone(), network.parameters())
    with torch.random.fork_rng():
        walk = reference.train(network, theta, images, labels, 0.1, 3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for found in walk[1:]:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        assert torch.allclose(found, reference.flat(network), rtol=1e-10, atol=1e-12)


def test_it_stops_where_it_diverges(make_images):
    images, labels = make_images()
    network = reference.ConvNet(3, 8, 3, width=4, depth=1).double()
    walk = Recorded(reference.flat(network)).trajectories[0]
    distillation = reference.Distillation(images, labels, 0.05, lr_img=float("inf"), lr_lr=0.0)
    with pytest.raises(ArithmeticError, match="lower LR_IMG or LR_LR"):
        distillation.iterate(network, walk, 0, 2, 3)


def test_it_runs(monkeypatch, capsys):
    """The whole file at the smallest size."""
    for name, value in {"EXPERTS": 1, "EPOCHS": 2, "ITERATIONS": 20, "MAX_START_EPOCH": 1, "STUDENT_STEPS": 2}.items():
        monkeypatch.setattr(reference, name, value)
    with torch.random.fork_rng():
        reference.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "iteration 20",
        "test accuracy of a network trained on real images",
        "test accuracy of a network trained on distilled images",
    ]


def test_nothing_of_the_package_is_imported():
    with open(reference.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    found = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert found == {"__future__", "collections", "sklearn", "torch"}

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ast_ray.core.networks import build
from ast_ray.core.parameters import FlatSpec, load
from ast_ray.core.rng import stream
from ast_ray.stages.run.pipeline import Plan
from ast_ray.stages.tools.features import write_features
from ast_ray.storage.run_directory import RunDirectory
from ast_ray.storage.synthetic import load_synthetic
from tests import documents


def test_representative_points_are_those_the_distillation_began_with(plan: Plan) -> None:
    """The saved start of AST goes through the expert once more, and onto axes fitted here by an SVD."""
    found = documents.content(plan.directory.features)
    assert [item["name"] for item in found["classes"]] == ["0", "1", "2"]
    network = build(plan.config.network, plan.data.image_shape, plan.data.classes, stream(1, "any"))
    (theta,) = plan.buffer("ast").segment(0, plan.config.expert.epochs, 0)
    load(network, FlatSpec.of(network), theta)
    initial = load_synthetic(plan.directory.method("ast").initial)
    members = plan.data.train_images[plan.data.train_labels == 1]
    with torch.no_grad():
        cloud = network.features(members).double().numpy()
        start = network.features(initial.images[initial.labels == 1]).double().numpy()
    item = found["classes"][1]
    assert len(item["points"]["real"]) == len(members) < 200
    _, _, axes = np.linalg.svd(cloud - cloud.mean(0), full_matrices=False)
    expected = (start - cloud.mean(0)) @ axes[:2].T
    shown = np.array(item["points"]["representative"])
    np.testing.assert_allclose(np.abs(shown), np.abs(expected), atol=2e-3)


def test_kinds_and_variance(plan: Plan) -> None:
    for item in documents.content(plan.directory.features)["classes"]:
        assert {name: len(points) for name, points in item["points"].items() if name != "real"} == {
            "random": 2,
            "representative": 2,
            "distilled": 2,
        }
        first, second = item["explained"]
        assert 1 >= first >= second > 0


@pytest.mark.usefixtures("run")
def test_classes_without_images_for_two_axes_are_left_out(plan: Plan, tmp_path: Path) -> None:
    shutil.copytree(plan.directory.path, tmp_path / "run")
    first = torch.nonzero(plan.data.train_labels == 0).flatten()
    kept = torch.ones(len(plan.data.train_labels), dtype=torch.bool)
    kept[first[2:]] = False
    data = replace(plan.data, train_images=plan.data.train_images[kept], train_labels=plan.data.train_labels[kept])
    small = replace(plan, data=data, directory=RunDirectory(tmp_path / "run"))
    small.directory.features.unlink()
    write_features(small, "ast")
    found = documents.content(small.directory.features)
    assert [item["name"] for item in found["classes"]] == ["1", "2", "3"]


def test_written_once(plan: Plan) -> None:
    before = plan.directory.features.stat().st_mtime_ns
    write_features(plan, "ast")
    assert plan.directory.features.stat().st_mtime_ns == before
    write_features(plan, "mtt")
    assert documents.content(plan.directory.features)["method"] == "mtt"
    write_features(plan, "ast")
    assert documents.content(plan.directory.features)["method"] == "ast"


@pytest.mark.usefixtures("run")
def test_the_same_bytes_again(plan: Plan) -> None:
    before = plan.directory.features.read_bytes()
    plan.directory.features.unlink()
    write_features(plan, "ast")
    assert plan.directory.features.read_bytes() == before

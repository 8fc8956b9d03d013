from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ast_ray.config import Config
from ast_ray.errors import DataError, DivergenceError, StoreError
from ast_ray.stages.evaluation import evaluate as module
from ast_ray.stages.evaluation.evaluate import EvaluationJob, evaluate, finished_row, row_settings
from ast_ray.stages.evaluation.named_sets import row_names, set_jobs, set_paths
from ast_ray.stages.evaluation.rows import real_set_identity
from ast_ray.stages.evaluation.training_sets import REAL_SETS, check_set
from ast_ray.stages.run.pipeline import Plan, evaluation_jobs
from ast_ray.storage.synthetic import load_synthetic
from tests import documents
from tests.tiny import Recorder, tiny_plan


def jobs_in(tiny: Callable[..., Config], path: Path, **overrides: object) -> list[EvaluationJob]:
    plan = tiny_plan(tiny(run__methods="none", run__baselines="random,full", **overrides), path)
    return evaluation_jobs(plan)


def evaluate_network(job: EvaluationJob) -> dict[str, Any]:
    """The row of a job of one network."""
    (row,) = evaluate(job, Recorder())
    return row


def test_a_row_says_what_it_is(tiny: Callable[..., Config], tmp_path: Path) -> None:
    job = jobs_in(tiny, tmp_path)[1]
    row = evaluate_network(job)
    assert documents.content(job.row(1)) == row
    assert row["set"] == "random"
    assert row["seed"] == 1
    assert row["images"] == 10
    assert row["lr"] == 0.01
    assert (row["accuracy"] * 500) == pytest.approx(round(row["accuracy"] * 500))  # the whole test set
    assert finished_row(job, 1) == row


def test_networks_differ_and_a_repetition_does_not(tiny: Callable[..., Config], tmp_path: Path) -> None:
    one, two = jobs_in(tiny, tmp_path)[:2]
    first, second = evaluate_network(one), evaluate_network(two)
    assert first["loss"] != second["loss"]
    one.row(0).unlink()
    again = evaluate_network(one)
    assert (again["accuracy"], again["loss"]) == (first["accuracy"], first["loss"])


def test_a_finished_row_is_not_trained_again(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs_in(tiny, tmp_path)[0]
    row = evaluate_network(job)

    def never(*_: object, **__: object) -> object:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "train_fresh", never)
    assert evaluate_network(job) == row
    with pytest.raises(AssertionError, match="trained again"):
        evaluate_network(dataclasses.replace(job, token="another"))


def test_a_damaged_row_counts_as_absent(tiny: Callable[..., Config], tmp_path: Path) -> None:
    job = jobs_in(tiny, tmp_path)[0]
    job.row(0).parent.mkdir(parents=True)
    for content in ("", "{", "[]", "{}"):
        job.row(0).write_text(content)
        assert finished_row(job, 0) is None


def test_the_full_row_uses_all_training_images(tiny: Callable[..., Config], tmp_path: Path) -> None:
    job = jobs_in(tiny, tmp_path)[-1]
    assert job.source == "full"
    assert evaluate_network(job)["images"] == 100


def test_the_full_row_is_trained_until_it_has_taken_its_steps(tiny: Callable[..., Config], tmp_path: Path) -> None:
    """100 images in batches of 64: two steps per epoch; eight epochs take the fifteen steps asked for."""
    job = jobs_in(tiny, tmp_path, evaluate__full_steps=15, evaluate__full_networks=1)[-1]
    recipe = job.training(tiny_plan(job.config, tmp_path).data)[2]
    assert (recipe.passes, recipe.lr_decay_pass) == (8, 4)
    row = evaluate_network(job)
    assert (row["passes"], row["steps"], row["images"]) == (8, 16, 100)
    assert 0 <= row["train_accuracy_before"] < row["train_accuracy"] <= 1  # eight passes are far too few
    small = evaluate_network(jobs_in(tiny, tmp_path)[0])
    assert (small["steps"], small["train_accuracy"], small["train_accuracy_before"]) == (5, None, None)


def test_enough_steps_leave_the_full_row_and_its_token_as_they_were(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    def tokens(**overrides: object) -> tuple[str, str]:
        jobs = jobs_in(tiny, tmp_path, **overrides)
        return jobs[0].token, jobs[-1].token

    before, plan = tokens(), tiny_plan(tiny(), tmp_path)
    assert tokens(evaluate__full_steps=2) == before  # one epoch takes two steps
    assert tokens(evaluate__full_steps=3) == (before[0], tokens(evaluate__full_steps=4)[1])
    assert tokens(evaluate__full_steps=3)[1] != before[1]
    assert "epochs" not in real_set_identity("full", tiny(evaluate__full_steps=2), plan.data)
    assert real_set_identity("full", tiny(evaluate__full_steps=3), plan.data)["epochs"] == 2
    assert "full_steps" not in row_settings(tiny())


def test_divergence_names_set_and_network(tiny: Callable[..., Config], tmp_path: Path) -> None:
    job = jobs_in(tiny, tmp_path, evaluate__real_lr=1e6)[0]
    with pytest.raises(DivergenceError, match="set 'random', network 0: evaluation diverged"):
        evaluate_network(job)
    assert not job.row(0).exists()


def test_random_images_are_other_ones_for_every_network_representative_ones_are_not(
    tiny: Callable[..., Config], reference: Plan
) -> None:
    data = reference.data
    jobs = {job.key: job for job in evaluation_jobs(reference)}
    one, two = (jobs[f"evaluate random {index}"].training(data)[0] for index in (0, 1))
    assert not torch.equal(one, two)
    one, two = (jobs[f"evaluate representative {index}"].training(data)[0] for index in (0, 1))
    assert torch.equal(one, two)
    assert torch.equal(one, load_synthetic(reference.directory.method("ast").initial).images)


def test_a_synthetic_set_is_trained_with_its_own_alpha(reference: Plan) -> None:
    jobs = {job.key: job for job in evaluation_jobs(reference)}
    synthetic = load_synthetic(reference.directory.method("ast").synthetic)
    images, labels, recipe, _ = jobs["evaluate ast 0"].training(reference.data)
    assert torch.equal(images, synthetic.images)
    assert labels.tolist() == list(range(10))
    assert recipe.lr == synthetic.student_lr
    assert recipe.augmentation == "crop_scale_rotate"


def test_what_decides_a_row(tiny: Callable[..., Config]) -> None:
    assert row_settings(tiny(evaluate__networks=9, evaluate__full_networks=3)) == row_settings(tiny())
    assert row_settings(tiny(evaluate__momentum=0.5)) != row_settings(tiny())


def test_a_set_of_other_images_or_classes(reference: Plan) -> None:
    ours = load_synthetic(reference.directory.method("ast").synthetic)
    check_set(ours, "here", reference.data)
    with pytest.raises(DataError, match=r"here: images are \(1, 9, 9\), the data's \(1, 8, 8\)"):
        check_set(dataclasses.replace(ours, images=torch.zeros(10, 1, 9, 9)), "here", reference.data)
    with pytest.raises(DataError, match="distilled for the classes"):
        check_set(dataclasses.replace(ours, class_names=("a",) * 10), "here", reference.data)


def test_where_sets_are_found(reference: Plan, tmp_path: Path) -> None:
    run = reference.directory
    ast, mtt = run.method("ast").synthetic, run.method("mtt").synthetic
    assert set_paths([str(run.path)]) == {"ast": ast, "mtt": mtt}
    assert set_paths([str(ast.parent)]) == {"ast": ast}
    assert set_paths([str(ast), str(ast)]) == {"ast": ast}
    assert set_paths([str(run.method("ast").last)]) == {"ast-last": run.method("ast").last}
    with pytest.raises(StoreError, match="no synthetic set here"):
        set_paths([str(run.path), str(tmp_path)])


@pytest.mark.parametrize(
    ("chains", "names"),
    [
        ([("ast", "one"), ("mtt", "one")], ["ast", "mtt"]),
        ([("ast", "one", "runs"), ("ast", "two", "runs")], ["one-ast", "two-ast"]),
        ([("ast", "one", "a"), ("ast", "one", "b"), ("ast", "two", "b")], ["a-one-ast", "b-one-ast", "two-ast"]),
        ([("random", "sets"), ("full", "sets")], ["sets-random", "sets-full"]),
        ([("b-c", "a"), ("c", "b", "x"), ("c", "d", "x")], ["a-b-c", "x-b-c", "d-c"]),
        ([("random",), ("full",)], ["random-2", "full-2"]),  # in the file system's root nothing is around them
        ([("x",), ("x",), ("x-2",)], ["x-3", "x", "x-2"]),
    ],
)
def test_sets_are_named_by_what_tells_them_apart(chains: list[tuple[str, ...]], names: list[str]) -> None:
    found = row_names(chains)
    assert found == names
    assert len(set(found)) == len(found)
    assert not set(found) & set(REAL_SETS)


def test_the_token_of_a_set_is_its_content_and_protocol(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    ast, mtt = (reference.directory.method(name).synthetic for name in ("ast", "mtt"))
    (one, _) = set_jobs(tiny(), {"x": ast}, tmp_path)
    assert set_jobs(tiny(evaluate__networks=3), {"x": ast}, tmp_path)[0].token == one.token
    assert set_jobs(tiny(), {"x": mtt}, tmp_path)[0].token != one.token
    assert set_jobs(tiny(evaluate__passes=9), {"x": ast}, tmp_path)[0].token != one.token
    assert set_jobs(tiny(seed=3), {"x": ast}, tmp_path)[0].token != one.token

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ast_ray.config import Config
from ast_ray.errors import DivergenceError, ResourceError, StoreError
from ast_ray.stages.distillation.job import DistillJob
from ast_ray.stages.distillation.loop import Distillation, distill, finished
from ast_ray.stages.run.pipeline import Plan
from ast_ray.storage.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from ast_ray.storage.synthetic import load_synthetic
from ast_ray.telemetry.metrics import read_metrics
from ast_ray.telemetry.progress import Update
from tests import documents
from tests.tiny import Recorder, artefacts, assert_same, largest_file, tiny_plan


class StopError(Exception):
    """Not an error of the package: stands for a process that is gone."""


class StopAt(Recorder):
    """Dies when an iteration is told."""

    def __init__(self, iteration: int) -> None:
        super().__init__()
        self.iteration = iteration

    def update(self, update: Update) -> None:
        if update.done == self.iteration:
            raise StopError


def job_in(config: Config, path: Path, reference: Plan, method: str = "ast") -> DistillJob:
    """A distillation in its own folder over the reference run's experts."""
    experts = reference.buffer(method).folder
    if not (path / "experts").exists():
        shutil.copytree(experts, path / "experts" / experts.name)
    return tiny_plan(config, path).distill_job(method)


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4, 5, 6])
def test_a_resume_at_any_iteration_gives_the_undisturbed_bytes(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, killed_at: int
) -> None:
    job = job_in(tiny(), tmp_path, reference)
    with pytest.raises(StopError):
        distill(job, StopAt(killed_at))
    assert not finished(job)
    assert not job.directory.synthetic.exists()
    distill(job, Recorder())
    assert finished(job)
    undisturbed = {name: data for name, data in artefacts(reference.directory.path).items() if "distill/ast" in name}
    mine = {name: data for name, data in artefacts(tmp_path).items() if "distill" in name}
    assert [name for name in undisturbed if undisturbed[name] != mine.get(name)] == []
    assert [row["iteration"] for row in read_metrics(job.directory.metrics)] == [1, 2, 3, 4, 5, 6]


def test_a_resume_with_momentum_window_and_full_graph_too(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    config = tiny(
        distill__start_epoch_window=1,
        distill__student_momentum=0.5,
        distill__dropout=0.2,
        distill__gradient="full_graph",
    )
    whole, broken = job_in(config, tmp_path / "a", reference), job_in(config, tmp_path / "b", reference)
    distill(whole, Recorder())
    with pytest.raises(StopError):
        distill(broken, StopAt(5))
    distill(broken, Recorder())
    assert_same(tmp_path / "a", tmp_path / "b")


def test_a_resume_with_teslas_gradient_too(tiny: Callable[..., Config], reference: Plan, tmp_path: Path) -> None:
    config = tiny(distill__gradient="direct", distill__student_momentum=0.5, distill__batch_size=4)
    whole, broken = job_in(config, tmp_path / "a", reference), job_in(config, tmp_path / "b", reference)
    distill(whole, Recorder())
    with pytest.raises(StopError):
        distill(broken, StopAt(3))
    distill(broken, Recorder())
    assert_same(tmp_path / "a", tmp_path / "b")
    assert documents.content(whole.directory.outcome)["gradient"] == "direct"


def test_metrics_hold_the_iterations_the_settings_ask_for(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    config = tiny(distill__log_every=4, distill__validate_every=3, distill__iterations=8)
    job = job_in(config, tmp_path, reference)
    distill(job, Recorder())
    rows = read_metrics(job.directory.metrics)
    assert [row["iteration"] for row in rows] == [1, 3, 4, 6, 8]  # first, every 4th, validations, last
    assert [row["iteration"] for row in rows if "validation_accuracy" in row] == [3, 6, 8]


def test_the_outcome_is_the_best_by_validation(reference: Plan) -> None:
    directory = reference.directory.method("ast")
    outcome = documents.content(directory.outcome)
    scores = {row["iteration"]: row["validation_accuracy"] for row in read_metrics(directory.metrics)[2::3]}
    assert scores.keys() == {3, 6}
    best = max(scores, key=lambda iteration: (scores[iteration], -iteration))
    assert outcome["best_iteration"] == best
    assert outcome["validation_accuracy"] == scores[best]
    chosen, last = load_synthetic(directory.synthetic), load_synthetic(directory.last)
    assert chosen.provenance["iteration"] == best
    assert chosen.student_lr == outcome["student_lr"]
    assert last.provenance["iteration"] == 6
    assert torch.equal(chosen.images, last.images) == (best == 6)


def test_the_initial_set_is_made_of_real_images(reference: Plan) -> None:
    initial = load_synthetic(reference.directory.method("ast").initial)
    train = reference.data.train_images.flatten(1)
    for image, label in zip(initial.images.flatten(1), initial.labels, strict=True):
        rows = (train == image).all(dim=1).nonzero().flatten().tolist()
        assert label in reference.data.train_labels[rows]


def test_the_set_says_how_to_use_it(reference: Plan) -> None:
    found = load_synthetic(reference.directory.method("ast").synthetic)
    assert found.images.shape == (10, 1, 8, 8)
    assert found.labels.tolist() == list(range(10))
    assert found.class_names == tuple("0123456789")
    assert found.augmentation == "crop_scale_rotate"
    assert found.mean == reference.data.preprocessing.mean
    assert "compute" not in found.provenance["config"]
    assert (
        found.provenance["fingerprint"] == documents.content(reference.directory.method("ast").outcome)["fingerprint"]
    )


@pytest.mark.parametrize(
    ("overrides", "cause"),
    [
        (
            {"distill__student_lr": 1e6, "distill__syn_steps": 10, "distill__iterations": 12},
            "is (nan|inf), 10 iterations in a row",
        ),
        ({"distill__outer": "sgd", "distill__lr_lr": 1e3}, "alpha would become -"),
        ({"distill__outer": "sgd", "distill__lr_img": 1e6}, "pixels would stop being finite"),
    ],
)
def test_divergence_stops_before_the_update_and_says_where(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, overrides: dict[str, float], cause: str
) -> None:
    config = tiny(**overrides)
    if config.distill.lr_img == 1e6:  # a rate that breaks the pixels in one step is far beyond what may be set
        config = dataclasses.replace(config, distill=dataclasses.replace(config.distill, lr_img=1e300))
    job = job_in(config, tmp_path, reference)
    with pytest.raises(DivergenceError, match=cause) as caught:
        distill(job, Recorder())
    text = str(caught.value)
    assert "ast: distillation stopped at iteration" in text
    assert re.search(rf"last good state: iteration [019], {job.directory.checkpoint}", text)
    assert not job.directory.synthetic.exists()
    assert not finished(job)
    found = read_checkpoint(job.directory.checkpoint, job_fingerprint(job))
    assert found is not None
    assert all(torch.isfinite(tensor).all() for tensor in found.tensors.values())
    assert "NaN" not in job.directory.metrics.read_text()
    assert "Infinity" not in job.directory.metrics.read_text()


def job_fingerprint(job: DistillJob) -> str:
    from ast_ray.config import fingerprint

    return fingerprint(job.identity)


def test_a_divergence_late_goes_on_from_the_last_good_iteration(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ast_ray.stages.distillation import loop as module

    job, real = job_in(tiny(), tmp_path, reference), module.iterate

    def fail_at_four(problem: object, state: object, matcher: object) -> object:
        if state.iteration == 3:  # type: ignore[attr-defined]
            raise DivergenceError("distillation stopped at iteration 4")
        return real(problem, state, matcher)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "iterate", fail_at_four)
    with pytest.raises(DivergenceError, match=r"iteration 4; last good state: iteration 3, .*checkpoint"):
        distill(job, Recorder())
    monkeypatch.setattr(module, "iterate", real)
    assert Distillation(job, Recorder()).state.iteration == 3
    distill(job, Recorder())
    undisturbed = reference.directory.method("ast")
    assert job.directory.last.read_bytes() == undisturbed.last.read_bytes()
    assert job.directory.metrics.read_bytes() == undisturbed.metrics.read_bytes()


def test_a_loss_that_stays_near_one_is_said_once_with_the_settings_to_look_at(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    job, sink = job_in(tiny(distill__rho=50.0), tmp_path, reference), Recorder()
    outcome = distill(job, sink)
    before, message = sink.messages
    assert re.match(
        r"ast: in \d epochs an expert's .* This is unlikely to work: the weight perturbation alone is .* %", before
    )
    assert re.match(
        r"ast: the matching loss is \d\.\d\d on average over 6 iterations, .*: it (stays near|is above) 1, so the",
        message,
    )
    assert "lower distill.rho" in message
    assert outcome["warning"] == message
    assert documents.content(job.directory.outcome)["warning"] == message


def test_a_loss_that_falls_is_not_warned_about(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ast_ray.stages.distillation import loop as module

    real = module.iterate

    def covered(problem: object, state: object, matcher: object) -> object:
        state, report = real(problem, state, matcher)  # type: ignore[arg-type]
        return state, dataclasses.replace(report, relative_loss=0.5)

    monkeypatch.setattr(module, "iterate", covered)
    job, sink = job_in(tiny(), tmp_path, reference), Recorder()
    assert distill(job, sink)["warning"] is None
    (before,) = sink.messages
    assert re.match(r"ast: in \d epochs an expert's weights move by ", before)
    assert "unlikely" not in before


def test_a_run_without_a_usable_segment_is_a_divergence_however_short(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    job = job_in(tiny(distill__student_lr=1e6, distill__syn_steps=10, distill__iterations=3), tmp_path, reference)
    with pytest.raises(DivergenceError, match="none of 3 iterations had a usable gradient"):
        distill(job, Recorder())
    assert not finished(job)


def test_alpha_is_chosen_and_part_of_checkpoint_and_outcome(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    """An interrupted distillation keeps what the probe saw, and ends with the undisturbed one's bytes."""
    outcome = documents.content(reference.directory.method("ast").outcome)
    chosen = outcome["coverage"]["student_lr"]
    assert chosen == outcome["coverage"]["suggested_lr"] > 0
    assert load_synthetic(reference.directory.method("ast").initial).student_lr == pytest.approx(chosen, rel=1e-6)
    found = read_checkpoint(reference.directory.method("ast").checkpoint, outcome["fingerprint"])
    assert found is not None
    assert found.values["coverage"] == outcome["coverage"]
    assert found.values["updates"] == found.values["iteration"]
    assert float(found.tensors["image_scale"]) > 0
    assert float(found.tensors["lr_scale"]) > 0


def test_an_infinite_gradient_is_skipped_said_and_survives_an_interruption(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Iteration 3 has an infinite gradient; cut after it and gone on with, the run has an uncut one's bytes."""
    from ast_ray.core.methods.trajectory import Draw, Gradients, State, TrajectoryMatching

    real = TrajectoryMatching.gradients

    def broken(problem: TrajectoryMatching, state: State, draw: Draw) -> Gradients:
        found = real(problem, state, draw)
        infinite = {**found.learned, "images": found.learned["images"] * math.inf}
        return dataclasses.replace(found, learned=infinite) if draw.iteration == 3 else found

    monkeypatch.setattr(TrajectoryMatching, "gradients", broken)
    config = tiny(distill__iterations=6, distill__checkpoint_every=1, distill__log_every=1)
    whole, cut = (job_in(config, tmp_path / name, reference) for name in ("whole", "cut"))
    sink = Recorder()
    outcome = distill(whole, sink)
    assert outcome["skipped"] == 1
    assert any("iteration 3: a segment of expert" in message and "was left out" in message for message in sink.messages)
    rows = [json.loads(line) for line in whole.directory.metrics.read_text().splitlines()]
    assert [row.get("skipped", 0) for row in rows] == [0, 0, 1, 1, 1, 1]
    assert rows[2]["student_lr"] == rows[3]["student_lr"]
    assert rows[2]["image_gradient_norm"] is None

    with pytest.raises(StopError):
        distill(cut, StopAt(4))
    distill(cut, Recorder())
    for name in ("synthetic", "last", "metrics"):
        assert getattr(cut.directory, name).read_bytes() == getattr(whole.directory, name).read_bytes(), name


def test_validation_that_diverges_counts_as_zero_and_is_said(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    job, sink = job_in(tiny(evaluate__lr=1e6), tmp_path, reference), Recorder()
    assert distill(job, sink)["validation_accuracy"] == 0.0
    assert any("counted as accuracy 0" in message for message in sink.messages)


def test_another_runs_checkpoint_is_refused(tiny: Callable[..., Config], reference: Plan, tmp_path: Path) -> None:
    job = job_in(tiny(distill__step_img=0.3), tmp_path, reference)
    job.directory.path.mkdir(parents=True)
    shutil.copy(reference.directory.method("ast").checkpoint, job.directory.checkpoint)
    with pytest.raises(StoreError, match="checkpoint of run"):
        distill(job, Recorder())


def test_a_missing_expert_is_named(tiny: Callable[..., Config], reference: Plan, tmp_path: Path) -> None:
    job = job_in(tiny(distill__init="random-real"), tmp_path, reference)
    for file in job.buffer.folder.glob("expert-*"):
        file.unlink()
    with pytest.raises(StoreError, match=r"expert-0000[01]\.parquet: no such expert"):
        distill(job, Recorder())


def test_a_damaged_outcome_counts_as_unfinished(tiny: Callable[..., Config], reference: Plan, tmp_path: Path) -> None:
    job = job_in(tiny(), tmp_path, reference)
    job.directory.path.mkdir(parents=True)
    job.directory.outcome.write_text('{"fingerpr')
    assert not finished(job)


def test_the_outcome_names_its_engine_and_compiled_gives_the_same_set_but_for_rounding(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, compiled_code: None
) -> None:
    job = job_in(tiny(distill__engine="compiled", distill__gradient="stored"), tmp_path, reference)
    outcome = distill(job, Recorder())
    assert (outcome["engine"], outcome["gradient"]) == ("compiled", "stored")
    undisturbed = reference.directory.method("ast")
    ours, theirs = load_synthetic(job.directory.last).images, load_synthetic(undisturbed.last).images
    start = load_synthetic(undisturbed.initial).images
    assert float((ours - theirs).norm()) <= 1e-3 * float((theirs - start).norm())
    assert documents.content(undisturbed.outcome)["engine"] == "eager"


@pytest.mark.parametrize("size", [2**11, 2**14], ids=["the checkpoint does not fit", "the events do not fit"])
def test_a_full_disk_ends_with_a_message_and_the_same_command_goes_on(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, size: int, capfd: pytest.CaptureFixture[str]
) -> None:
    job = job_in(tiny(), tmp_path, reference)
    with largest_file(size), pytest.raises(ResourceError, match=rf"cannot write {tmp_path}.*; free space"):
        distill(job, Recorder())
    assert "Traceback" not in capfd.readouterr().err
    assert not finished(job)
    distill(job, Recorder())
    mine, theirs = job.directory, reference.directory.method("ast")
    for name in ("synthetic", "last", "initial", "outcome", "metrics"):
        assert getattr(mine, name).read_bytes() == getattr(theirs, name).read_bytes(), name


@pytest.mark.parametrize(
    ("tensors", "values", "told"),
    [
        ({"images": None}, {}, "tensor 'images' is missing"),
        (
            {"images": torch.zeros(1, 1, 8, 8)},
            {},
            r"tensor 'images' is float32 \[1, 1, 8, 8\], expected float32 \[10, 1, 8, 8\]",
        ),
        ({"student_lr": torch.zeros(2)}, {}, "tensor 'student_lr'"),
        ({"image_scale": torch.zeros(2)}, {}, "tensor 'image_scale'"),
        ({"best_images": None}, {}, "tensor 'best_images' is missing"),
        ({}, {"iteration": -1}, "iteration = -1"),
        ({}, {"recent": 3}, "recent = 3: expected a list"),
        ({}, {"best": {}}, "best.student_lr is missing"),
        ({}, {"coverage": {"loss": "x"}}, "coverage"),
    ],
)
def test_a_checkpoint_of_something_else_under_its_name_is_refused(
    tiny: Callable[..., Config],
    reference: Plan,
    tmp_path: Path,
    tensors: dict[str, torch.Tensor | None],
    values: dict[str, object],
    told: str,
) -> None:
    job = job_in(tiny(), tmp_path, reference)
    found = read_checkpoint(reference.directory.method("ast").checkpoint, job_fingerprint(job))
    assert found is not None
    changed = {name: tensor for name, tensor in {**found.tensors, **tensors}.items() if tensor is not None}
    write_checkpoint(job.directory.checkpoint, Checkpoint(job_fingerprint(job), changed, {**found.values, **values}))
    with pytest.raises(StoreError, match=rf"checkpoint\.safetensors: .*{told}.*delete it to start over"):
        distill(job, Recorder())

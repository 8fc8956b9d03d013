"""Sets with soft labels from evaluation to rows and tables: what networks are trained on, and which rows say so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from ast_ray.config import Config
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.core.training import TrainingRecipe
from ast_ray.data.real import RealData
from ast_ray.errors import DataError, DivergenceError
from ast_ray.stages.evaluation import validation
from ast_ray.stages.evaluation.evaluate import evaluate
from ast_ray.stages.evaluation.named_sets import content_of, set_jobs, set_paths
from ast_ray.stages.evaluation.rows import publish_rows
from ast_ray.stages.evaluation.validation import validation_accuracies
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run.pipeline import Plan, evaluate_sets
from ast_ray.stages.tools.export import import_set
from ast_ray.storage.synthetic import load_synthetic, save_synthetic
from tests import documents
from tests.tiny import Recorder

Tiny = Callable[..., Config]
STEPS = 60
PROTOCOLS = ("strict", "no-augmentation", "dc", "frepo")


def soft_set(reference: Plan, loss: str) -> SyntheticSet:
    """AST's set of the run with rows whose largest entry is the next class's."""
    found = load_synthetic(reference.directory.method("ast").synthetic)
    rows = 3 * F.one_hot((found.labels + 1) % 10, 10).float()
    rows = rows.softmax(1) if loss == "ce" else rows - rows.mean()
    return dataclasses.replace(found, targets=rows, target_loss=loss)


def rows_of(config: Config, folder: Path, **sets: SyntheticSet) -> list[dict[str, Any]]:
    """Rows of the sets' networks, without time."""
    for name, synthetic in sets.items():
        save_synthetic(folder / name / "synthetic.safetensors", synthetic)
    jobs = set_jobs(config, set_paths([str(folder / name) for name in sets]), folder / "rows")
    evaluate_sets(jobs, SerialExecutor(Recorder()), Recorder())
    rows = [documents.content(job.row(index)) for job in jobs for index in job.indices]
    return [{name: value for name, value in row.items() if name not in ("seconds", "token")} for row in rows]


@pytest.fixture(scope="module", autouse=True)
def _fewer_steps() -> Iterator[None]:
    """FRePo's shortest training would take a thousand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ast_ray.core.training._FREPO_STEPS", {10: STEPS})
        yield


@pytest.fixture(scope="module")
def rows(reference: Plan, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """Rows of three sets of the same images by set and protocol, one network each."""
    config = tiny(protocols=",".join(PROTOCOLS), evaluate__networks=1)
    plain = load_synthetic(reference.directory.method("ast").synthetic)
    sets = {"hard": plain, "assigned": soft_set(reference, "ce"), "learned": soft_set(reference, "mse")}
    folder = tmp_path_factory.mktemp("soft")
    return {(row["set"], row["protocol"]): row for row in rows_of(config, folder, **sets)} | {("", ""): folder}


def test_only_rows_of_sets_with_soft_labels_say_so(rows: dict[tuple[str, str], Any]) -> None:
    told = {name: [rows[name, protocol].get("targets") for protocol in PROTOCOLS] for name in ("assigned", "learned")}
    assert told == {"assigned": ["soft", "soft", "hard", "soft"], "learned": ["hard", "hard", "hard", "soft"]}
    assert not any("targets" in rows["hard", protocol] for protocol in PROTOCOLS)


def test_what_networks_are_trained_on_decides_the_row(rows: dict[tuple[str, str], Any]) -> None:
    for protocol in PROTOCOLS:
        losses = [rows[name, protocol]["loss"] for name in ("hard", "assigned", "learned")]
        assert len(set(losses)) == (2 if protocol == "dc" else 3), protocol
    assert rows["assigned", "dc"]["loss"] == rows["hard", "dc"]["loss"]


def test_the_protocols_rates_and_steps_are_in_the_rows(rows: dict[tuple[str, str], Any]) -> None:
    for name in ("hard", "assigned", "learned"):
        dc, frepo = rows[name, "dc"], rows[name, "frepo"]
        assert (dc["lr"], dc["lr_source"], dc["passes"], dc["steps"], dc["augmentation"]) == (
            0.01, "protocol", 300, 300, "none",
        )  # fmt: skip
        assert (frepo["lr"], frepo["lr_source"], frepo["passes"], frepo["steps"]) == (3e-4, "protocol", STEPS, STEPS)
        assert rows[name, "strict"]["lr_source"] == "learned"


def test_strict_on_learned_labels_is_strict_on_their_largest_entries(
    reference: Plan, tiny: Tiny, tmp_path: Path, rows: dict[tuple[str, str], Any]
) -> None:
    plain = load_synthetic(reference.directory.method("ast").synthetic)
    moved = dataclasses.replace(plain, labels=(plain.labels + 1) % 10)
    (row,) = rows_of(tiny(evaluate__networks=1), tmp_path, moved=moved)
    found = rows["learned", "strict"]
    assert (row["accuracy"], row["loss"]) == (found["accuracy"], found["loss"])


def test_all_rows_have_the_column_where_one_has_it(rows: dict[tuple[str, str], Any], tmp_path: Path) -> None:
    table = pq.read_table(publish_rows(rows["", ""] / "rows"))
    found = dict(zip(zip(*(table.column(name).to_pylist() for name in ("set", "protocol")), strict=True),
                     table.column("targets").to_pylist(), strict=True))  # fmt: skip
    assert found[("learned", "frepo")] == "soft"
    assert found[("hard", "frepo")] is None


def test_a_table_without_such_sets_has_no_such_column(reference: Plan) -> None:
    assert "targets" not in pq.read_table(reference.directory.evaluation.rows).column_names


def test_together_as_alone(reference: Plan, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    real = validation.train_networks_together

    def counted(networks: list[torch.nn.Module], *rest: object) -> list[float]:
        called.append(len(networks))
        return real(networks, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(validation, "train_networks_together", counted)
    sets = {"assigned": soft_set(reference, "ce"), "learned": soft_set(reference, "mse")}

    def measured(together: int) -> list[dict[str, Any]]:
        config = tiny(protocols="strict,frepo", evaluate__networks=2, compute__networks_together=together)
        return rows_of(config, tmp_path / str(together), **sets)

    alone = measured(1)
    assert called == []
    for one, other in zip(alone, measured(2), strict=True):
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=2.5 / 500)
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert one["targets"] == other["targets"]
    assert called == [2] * 4


def test_soft_labels_are_part_of_what_a_set_is(reference: Plan) -> None:
    plain = load_synthetic(reference.directory.method("ast").synthetic)
    assigned = soft_set(reference, "ce")
    learned = dataclasses.replace(assigned, target_loss="mse")
    other = dataclasses.replace(assigned, targets=assigned.targets.roll(1, 0))  # type: ignore[union-attr]
    assert len({content_of(one)["content"] for one in (plain, assigned, learned, other)}) == 4


@pytest.mark.parametrize("together", [1, 2])
def test_validation_trains_as_strict_does(tiny: Tiny, reference: Plan, together: int) -> None:
    config = tiny(distill__validate_networks=2, compute__networks_together=together)
    data: RealData = reference.data
    images, labels = data.train_images[torch.arange(30)], data.train_labels[:30]
    moved = (labels + 1) % 10
    rows = F.one_hot(moved, 10).float()

    def accuracies(labels: torch.Tensor, *soft: Any) -> tuple[float, ...]:
        return validation_accuracies(config, data, images, labels, 0.05, *soft)

    assert accuracies(labels, rows * 7, "mse") == accuracies(moved)
    assert accuracies(labels, rows, "ce") == pytest.approx(accuracies(moved), abs=0.02)
    assert accuracies(labels, rows, "ce") != accuracies(labels)


def test_a_divergence_under_a_fixed_rate_says_whose_it_is(
    reference: Plan, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_synthetic(tmp_path / "set" / "synthetic.safetensors", soft_set(reference, "mse"))
    config = tiny(protocols="dc", evaluate__networks=1)
    (job,) = set_jobs(config, set_paths([str(tmp_path / "set")]), tmp_path / "rows")
    monkeypatch.setattr(TrainingRecipe, "rate", lambda *_: 1e30)
    with pytest.raises(DivergenceError, match=r"leave it out of evaluate\.protocols"):
        evaluate(job, Recorder())


def test_probabilities_of_others_become_soft_labels(reference: Plan, tmp_path: Path) -> None:
    data = reference.data
    images, labels = data.train_images[torch.arange(100)], data.train_labels[:100]
    rows = (3 * F.one_hot(labels, 10).float()).softmax(1)
    torch.save(images, tmp_path / "images_best.pt")
    torch.save(rows, tmp_path / "labels_best.pt")
    found = import_set(reference.config, data, tmp_path / "images_best.pt", tmp_path / "labels_best.pt")
    assert torch.equal(found.labels, labels)
    assert found.target_loss == "ce"
    assert found.targets is not None
    assert torch.equal(found.targets, rows)
    torch.save(torch.full((100, 11), 1 / 11).softmax(1), tmp_path / "more.pt")
    with pytest.raises(DataError):
        import_set(reference.config, data, tmp_path / "images_best.pt", tmp_path / "more.pt")

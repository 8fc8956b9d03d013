"""Evaluation over architectures, protocols and real subsets: rows, resumption, tokens, the Parquet file, scores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ast_ray.config import Config, apply_overrides
from ast_ray.core.dd_ranking import augmentation_robust_score, label_robust_score
from ast_ray.errors import ConfigError
from ast_ray.stages.evaluation.evaluate import EvaluationJob, collapse_warning
from ast_ray.stages.evaluation.named_sets import set_jobs, set_paths, split_names, train_embedding
from ast_ray.stages.evaluation.rows import SCHEMA, publish_rows
from ast_ray.stages.evaluation.summary import summarize
from ast_ray.stages.executor import SerialExecutor
from ast_ray.stages.run import pipeline
from ast_ray.stages.run.pipeline import Plan, evaluate_sets, evaluation_jobs
from tests import documents
from tests.tiny import Recorder, subprocess_environment, tiny_plan

Tiny = Callable[..., Config]
NETWORKS = "convnet,mlp-w8,convnet-w4-bn"


def jobs_for(config: Config, plan: Plan, folder: Path, real: tuple[str, ...] = ()) -> list[EvaluationJob]:
    return set_jobs(config, set_paths([str(plan.directory.method("ast").path)]), folder, real)


def evaluate(jobs: list[EvaluationJob]) -> list[dict[str, object]]:
    return evaluate_sets(jobs, SerialExecutor(Recorder()), Recorder())


def test_every_network_meets_every_protocol(tiny: Tiny, reference: Plan, tmp_path: Path) -> None:
    config = tiny(architectures=NETWORKS, protocols="strict,peak", peak_every=2)
    table = evaluate(jobs_for(config, reference, tmp_path))
    groups = [(row["network"], row["protocol"], row["n"]) for row in table]
    assert groups == [(name, protocol, 2) for name in NETWORKS.split(",") for protocol in ("strict", "peak")]
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert rows.schema.equals(SCHEMA)
    assert rows.num_rows == 12
    journal = {path.name: documents.content(path) for path in tmp_path.glob("*.json")}
    for row in rows.to_pylist():
        assert journal[f"ast-{row['network']}-{row['protocol']}-{row['seed']}.json"] == row
    strict, peak = (
        {row["network"]: row["accuracies"] for row in table if row["protocol"] == name} for name in ("strict", "peak")
    )
    for name, accuracies in strict.items():
        assert all(
            best >= last for best, last in zip(peak[name], accuracies, strict=True)
        )  # the last pass is one it sees
    best = [row["best_pass"] for row in rows.to_pylist() if row["protocol"] == "peak"]
    assert set(best) <= {2, 4, 5}
    # The network of the settings is the one the run itself evaluated, and gives the same numbers.
    reported = next(row for row in documents.content(reference.directory.results)["rows"] if row["set"] == "ast")
    assert strict["convnet"] == reported["accuracies"]


def test_more_of_anything_leaves_rows_alone(
    tiny: Tiny, reference: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(jobs_for(tiny(architectures="mlp-w8"), reference, tmp_path))
    ran: list[str] = []
    real = pipeline.evaluate

    def counted(job: EvaluationJob, sink: Recorder) -> dict[str, object]:
        ran.append(job.key)
        return real(job, sink)

    monkeypatch.setattr(pipeline, "evaluate", counted)
    more = tiny(architectures="mlp-w8,mlp-w9", evaluate__networks=3, protocols="strict,no-augmentation")
    evaluate(jobs_for(more, reference, tmp_path))
    assert len(ran) == 12 - 2
    assert "evaluate ast mlp-w8 0" not in ran
    assert "evaluate ast mlp-w8 2" in ran
    ran.clear()
    evaluate(jobs_for(more, reference, tmp_path))
    assert ran == []
    evaluate(jobs_for(apply_overrides(more, {"transfer_lr": 0.5}), reference, tmp_path))
    assert len(ran) == 12


def test_a_killed_evaluation_goes_on(tiny: Tiny, reference: Plan, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ast_ray", "evaluate", str(reference.directory.method("ast").path)]
    command += ["--backend", "serial", "--json", "--out", str(tmp_path / "rows")]
    command += ["--architectures", "mlp-w8,mlp-w9", "--evaluate.networks", "2", "--passes", "400"]
    environment = subprocess_environment()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 100
        while not list((tmp_path / "rows").glob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "rows").glob("*.json")}
    assert 1 <= len(before) < 4
    config = tiny(architectures="mlp-w8,mlp-w9", passes=400)
    table = evaluate(jobs_for(config, reference, tmp_path / "rows"))
    assert [row["n"] for row in table] == [2, 2]
    for path, kept in before.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == kept
    undisturbed = evaluate(jobs_for(config, reference, tmp_path / "other"))
    assert table == undisturbed


def test_real_subsets_by_name(tiny: Tiny, reference: Plan, tmp_path: Path) -> None:
    real = ("random", "representative", "herding", "k-centre", "forgetting", "full")
    jobs = jobs_for(tiny(evaluate__networks=1), reference, tmp_path, real)
    train_embedding(jobs, SerialExecutor(Recorder()))
    assert not (tmp_path / "experts").exists()  # the run's own expert is there to look through
    table = {str(row["set"]): row for row in evaluate(jobs)}
    assert list(table) == ["random", "representative", "herding", "k-centre", "forgetting", "ast", "full"]
    assert [row["images"] for row in table.values()] == [10, 10, 10, 10, 10, 10, 100]
    rows = {row["set"]: row for row in pq.read_table(tmp_path / "rows.parquet").to_pylist()}
    assert {name: row["lr_source"] for name, row in rows.items()} == dict.fromkeys(real, "real_lr") | {"ast": "learned"}


def test_an_expert_is_trained_where_there_is_none(tiny: Tiny, tmp_path: Path) -> None:
    jobs = set_jobs(tiny(evaluate__networks=1), {}, tmp_path, ("herding",))
    train_embedding(jobs, SerialExecutor(Recorder()))
    assert len(list((tmp_path / "experts").glob("*/expert-00000.parquet"))) == 1
    (row,) = evaluate(jobs)
    assert (row["set"], row["images"]) == ("herding", 10)


def test_names_of_real_images_give_way_to_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert split_names(["a", "random", "full"]) == (["a"], ("random", "full"))
    (tmp_path / "full").mkdir()
    assert split_names(["a", "random", "full"]) == (["a", "full"], ("random",))


def test_a_run_compares_on_all_architectures(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(
        run__methods="ast", run__baselines="random", architectures="mlp,vit", protocols="strict,mtt", scores=True
    )
    jobs = evaluation_jobs(tiny_plan(config, tmp_path))
    keys = [job.key for job in jobs if job.indices == (0,)]
    sets = {name: [key for key in keys if key.startswith(f"evaluate {name} ")] for name in ("random", "ast", "full")}
    assert len(keys) == len(set(keys))
    assert sets["ast"] == [
        f"evaluate ast {name}{what} 0" for name in ("mlp", "vit") for what in ("", " mtt", " no-augmentation")
    ]
    assert len(sets["random"]) == 6
    assert sets["full"] == ["evaluate full mlp 0", "evaluate full vit 0"]


def test_an_image_too_small_for_a_network_is_told_before_any_work(tiny: Tiny, reference: Plan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        jobs_for(tiny(architectures="convnet-d5,mlp,vit-w30"), reference, tmp_path / "rows")
    assert [(problem.setting, problem.value) for problem in caught.value.problems] == [
        ("evaluate.architectures", "convnet-d5"),
        ("evaluate.architectures", "vit-w30"),
    ]
    assert not (tmp_path / "rows").exists()


def test_a_damaged_row_is_left_out_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "results.json").write_text('{"rows": []}')
    assert pq.read_table(publish_rows(tmp_path)).num_rows == 0


def test_a_collapsed_network_is_told() -> None:
    row = {
        "set": "ast",
        "network": "vgg11",
        "seed": 1,
        "loss": 2.3026,
        "classes": 10,
        "lr": 0.06,
        "lr_source": "learned",
    }
    assert "try --transfer-lr 0.01" in str(collapse_warning(row))
    assert collapse_warning({**row, "loss": 2.1}) is None
    assert collapse_warning({**row, "lr_source": "given"}) is None


def _row(name: str, seed: int, accuracy: float, protocol: str = "strict") -> dict[str, object]:
    return {"set": name, "network": "c", "protocol": protocol, "seed": seed, "accuracy": accuracy, "images": 10}


def test_scores_are_means_over_seeds() -> None:
    rows = [_row("random", 0, 0.4), _row("random", 1, 0.5), _row("ast", 0, 0.6), _row("ast", 1, 0.8)]
    rows += [_row("full", 0, 0.9)]  # one network of the full set stands in for both
    rows += [_row("random", seed, 0.3, "no-augmentation") for seed in (0, 1)]
    rows += [_row("ast", 0, 0.5, "no-augmentation"), _row("ast", 1, 0.7, "no-augmentation")]
    table = {(row["set"], row["protocol"]): row for row in summarize(rows)}
    ast = table["ast", "strict"]
    assert ast["ior"] == pytest.approx((0.2 + 0.3) / 2)
    assert ast["hlr"] == pytest.approx((0.3 + 0.1) / 2)
    assert ast["lrs"] == pytest.approx((label_robust_score(0.2, 0.3) + label_robust_score(0.3, 0.1)) / 2)
    ars = (augmentation_robust_score(0.2, 0.2) + augmentation_robust_score(0.3, 0.4)) / 2
    assert ast["ars"] == pytest.approx(ars)
    for key in (("random", "strict"), ("full", "strict"), ("ast", "no-augmentation")):
        assert not {"ior", "hlr", "lrs", "ars"} & table[key].keys()


def test_no_scores_without_what_they_compare_with() -> None:
    (row,) = summarize([_row("ast", 0, 0.6)])
    assert not {"ior", "hlr", "lrs", "ars"} & row.keys()

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from ast_ray.cli.main import main
from ast_ray.errors import DivergenceError
from ast_ray.stages.distillation import loop as distill_stage
from ast_ray.stages.distillation.loop import distill
from ast_ray.stages.run.pipeline import Plan
from ast_ray.storage.trajectory import read_metrics as read_expert
from ast_ray.telemetry.glossary import BY_TAG
from ast_ray.telemetry.metrics import read_metrics
from ast_ray.telemetry.progress import Silent
from tests import documents
from tests.small_run import make_run, small_config
from tests.tiny import serial_run, tiny_config


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("board")
    return make_run(folder / "run", small_config(folder, methods="ast"))


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "histograms": 0, "tensors": 0})
    found.Reload()
    return found


def folders(plan: Plan) -> list[Path]:
    return sorted({file.parent for file in plan.directory.tensorboard.glob("**/events.out.tfevents.*")})


def test_every_tag_is_in_the_glossary_and_the_other_way_round(plan: Plan, tmp_path: Path) -> None:
    """The tags of AST and MTT, and those of methods that have some of their own."""
    settings = {"run.methods": "cafe,frepo", "run.baselines": "none", "feature_alignment.inner_limit": 1}
    other = serial_run(tiny_config(tmp_path, settings), tmp_path / "run")
    seen: set[str] = set()
    for folder in [*folders(plan), *folders(other)]:
        tags = events(folder).Tags()
        seen |= {*tags["scalars"], *tags["images"], *tags["histograms"]}
    assert seen == set(BY_TAG)


def test_scalars_are_those_of_the_metrics_file(plan: Plan) -> None:
    board, rows = (
        events(plan.directory.tensorboard / "distill" / "ast"),
        read_metrics(plan.directory.method("ast").metrics),
    )
    assert [event.step for event in board.Scalars("match/relative_loss")] == [1, 2, 3, 4, 5, 6]
    logged = [event.value for event in board.Scalars("student/lr_alpha")]
    assert logged == pytest.approx([row["student_lr"] for row in rows])
    validated = [row for row in rows if "validation_accuracy" in row]
    assert [row["iteration"] for row in validated] == [3, 6]
    for row, low, high in zip(
        validated,
        board.Scalars("validation/accuracy_minus_std"),
        board.Scalars("validation/accuracy_plus_std"),
        strict=True,
    ):
        spread = statistics.stdev(row["validation_accuracies"])
        assert row["validation_accuracy"] == pytest.approx(statistics.fmean(row["validation_accuracies"]))
        assert (low.value, high.value) == pytest.approx(
            (row["validation_accuracy"] - spread, row["validation_accuracy"] + spread), abs=1e-6
        )


def test_images_and_histograms_over_time(plan: Plan) -> None:
    board = events(plan.directory.tensorboard / "distill" / "ast")
    assert [event.step for event in board.Images("synthetic/images")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in board.Histograms("synthetic/pixels")] == [1, 2, 3, 4, 5, 6]
    assert board.Histograms("synthetic/pixels")[0].histogram_value.num == 2 * 10 * 8 * 8


def test_avg_var_ends_where_the_expert_file_says(plan: Plan) -> None:
    board = events(plan.directory.tensorboard / "experts" / "ast-00000")
    moves = read_expert(plan.buffer("ast").path(0))["move"][1:]
    assert [event.step for event in board.Scalars("expert/avg_var")] == [1, 2, 3]
    assert board.Scalars("expert/avg_var")[0].value == pytest.approx(moves[0])
    assert board.Scalars("expert/avg_var")[-1].value == pytest.approx(statistics.fmean(moves))


def test_the_first_screen_is_laid_out(plan: Plan) -> None:
    board = events(plan.directory.tensorboard / "overview")
    (event,) = board.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title[:2] for category in layout.category] == ["1 ", "2 ", "3 "]
    (series,) = layout.category[0].chart[0].margin.series
    assert (series.lower, series.value, series.upper) == (
        "validation/accuracy_minus_std",
        "validation/accuracy",
        "validation/accuracy_plus_std",
    )
    text = board.Tensors("run/settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "syn_steps: 4" in text


def test_settings_stand_beside_final_values(plan: Plan) -> None:
    found = {}
    for file in (plan.directory.tensorboard / "distill" / "ast").iterdir():
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    found[value.tag] = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
    metrics = {info.name.tag for info in found["_hparams_/experiment"].experiment.metric_infos}
    assert metrics == {"validation/accuracy", "match/relative_loss"}
    given = found["_hparams_/session_start_info"].session_start_info.hparams
    assert given["distill.syn_steps"].number_value == 4
    assert given["distill.init"].string_value == "representative"
    assert "distill.log_every" not in given


def test_test_accuracies_are_written_once_however_often_the_run_is_repeated(tmp_path: Path) -> None:
    config = small_config(tmp_path, methods="ast")
    plan = make_run(tmp_path / "run", config)
    make_run(tmp_path / "run", config)
    board = events(plan.directory.tensorboard / "evaluation" / "ast-convnet-strict")
    (row,) = [row for row in documents.content(plan.directory.results)["rows"] if row["set"] == "ast"]
    logged = board.Scalars("evaluation/test_accuracy")
    assert [event.step for event in logged] == [0, 1]
    assert [event.value for event in logged] == pytest.approx(row["accuracies"])


def test_after_a_break_no_iteration_stands_twice(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken in iteration 6 with the last checkpoint at 4: events, snapshots and metrics go on from there."""
    job = plan.distill_job("ast")
    output, board = tmp_path / "ast", tmp_path / "board"
    job = type(job)(
        job.method, job.config, job.buffer, job.identity, str(output), str(board)
    )  # fmt: skip
    whole = distill_stage.iterate

    def broken(problem: object, state: object, matcher: object) -> object:
        if state.iteration == 5:  # type: ignore[attr-defined]
            raise OSError("the machine stops here")
        return whole(problem, state, matcher)  # type: ignore[arg-type]

    monkeypatch.setattr(distill_stage, "iterate", broken)
    with pytest.raises(OSError, match="stops here"):
        distill(job, Silent())
    assert (output / "snapshots" / "iteration-000005.png").exists()
    monkeypatch.setattr(distill_stage, "iterate", whole)
    distill(job, Silent())
    steps = [event.step for event in events(board).Scalars("match/loss")]
    assert steps == [1, 2, 3, 4, 5, 6]
    undisturbed = plan.directory.method("ast").snapshots
    for number in range(7):
        name = f"iteration-{number:06d}.png"
        assert (output / "snapshots" / name).read_bytes() == (undisturbed / name).read_bytes()
    assert (output / "metrics.jsonl").read_text() == plan.directory.method("ast").metrics.read_text()


def test_a_diverging_validation_counts_as_zero_with_as_many_networks(
    tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = plan.distill_job("ast")
    job = type(job)(
        job.method, job.config, job.buffer, job.identity,
        str(tmp_path / "ast"), str(tmp_path / "board"),
    )  # fmt: skip

    def diverged(*_: object) -> tuple[float, ...]:
        raise DivergenceError("no")

    monkeypatch.setattr(distill_stage, "validation_accuracies", diverged)
    distill(job, Silent())
    validated = [row for row in read_metrics(job.directory.metrics) if "validation_accuracy" in row]
    assert [row["validation_accuracies"] for row in validated] == [[0.0, 0.0]] * 2


def test_the_command_serves_this_machine_only_with_the_glossary(plan: Plan) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "ast_ray", "tensorboard", str(plan.directory.path), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert address, line
        for _ in range(600):
            with urllib.request.urlopen(f"{address[0]}data/plugin/scalars/tags") as reply:
                tags = json.load(reply)
            if len(tags) > 2 and "match/relative_loss" in tags.get("distill/ast", {}):
                break
            time.sleep(0.1)
        told = tags["distill/ast"]["match/relative_loss"]["description"]
        assert "the set is as good as nothing" in told
        asked = "data/plugin/custom_scalars/scalars?run=distill/ast&tag=match/relative_loss"
        with urllib.request.urlopen(f"{address[0]}{asked}") as reply:
            curves = json.load(reply)["tag_to_events"]["match/relative_loss"]
        assert [step for _, step, _ in curves] == [1, 2, 3, 4, 5, 6]
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


def test_a_folder_without_events_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["tensorboard", str(tmp_path)])
    assert done.exit_code == 1
    assert "no TensorBoard events here" in " ".join(done.stderr.split())

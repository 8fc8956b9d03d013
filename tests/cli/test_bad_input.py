"""Each kind of bad input: one clear error, an exit code, and nothing started."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import torch
from click.testing import Result

from ast_ray.cli.main import main
from ast_ray.config.methods import METHODS
from ast_ray.stages.run.pipeline import Plan
from tests.cli.conftest import parsed_error

Words = Callable[..., list[str]]
Call = Callable[..., Result]


@pytest.mark.parametrize(
    "given",
    [["run", "--out", "--json"], ["run", "--source", "--json"], ["report", "x", "--json", "--out", "--no-features"]],
)
def test_an_option_is_no_value_of_another(
    call: Call, given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--out $OUT --json`` of a script whose OUT is not set would run in a folder of the name --json."""
    monkeypatch.chdir(tmp_path)
    result = call(*given)
    assert result.exit_code == 2
    assert f"{given[-1]!r} is an option, where a value was expected" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "experts", "distill"])
@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (["--preset", "digist"], ["preset = 'digist': unknown preset; did you mean 'digits'?"]),
        (["--preset", "nope"], ["preset = 'nope': unknown preset; `ast-ray presets list` shows all "]),
        (["--distill.lr_imgg", "3"], ["--distill.lr_imgg: unknown setting; did you mean '--distill.lr-img'?"]),
        (
            ["--lr", "3"],
            ["--lr: unknown setting; did you mean '--expert.lr' or '--feature-regression.lr' or '--evaluate.lr'?"],
        ),
        (["--ipc", "two"], ["distill.ipc = 'two': expected a whole number"]),
        (["--ipc", "1.5"], ["distill.ipc = '1.5': expected a whole number"]),
        (["--lr-img", "nan"], ["distill.lr_img = 'nan': must be finite"]),
        (["--rho", "-1"], ["distill.rho = '-1': must be at least 0"]),
        (["--siamese", "maybe"], ["distill.siamese = 'maybe': expected true or false"]),
        (["--init", "represntative"], ["distill.init", "did you mean 'representative'?"]),
        (["--methods", "ast,mttt"], ["run.methods", "did you mean 'mtt'?"]),
        (["--distill.augmentation", "crop_flop"], ["unknown operation 'flop'; did you mean 'flip'?"]),
        (["--max-start-epoch", "20"], ["distill.max_start_epoch = 20", "largest valid: 19"]),
        (["--source", ""], ["data.source = '': is empty; leave it out for the default, 'digits'"]),
        (
            ["--methods", ""],
            [f"run.methods = '': is empty; give names of {', '.join(METHODS)}, or 'none'"],
        ),
        (["--source", "/no/such/folder"], ["/no/such/folder"]),
        (["--config", "/no/such.yaml"], ["/no/such.yaml", "cannot be read"]),
        (["stray"], ["'stray': not expected here"]),
        (["--resume", "runs/x"], ["--resume: unknown setting; the same command again goes on where it stopped"]),
        (
            ["--ipc", "0", "--expert.lr", "x", "--backend", "sreial", "--nonsense", "1", "--max-start-epoch", "40"],
            [
                "5 problems in the settings; nothing was started",
                "distill.ipc = '0': must be at least 1",
                "expert.lr = 'x': expected a number",
                "did you mean 'serial'?",
                "--nonsense: unknown setting",
                "distill.max_start_epoch = 40",
            ],
        ),
    ],
)
def test_settings_that_cannot_be(call: Call, tmp_path: Path, command: str, given: list[str], texts: list[str]) -> None:
    words = [command, "--out", str(tmp_path / "run"), "--backend", "serial", *given]
    if "--backend" in given:
        words.remove("--backend"), words.remove("serial")
    result = call(*words)
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
    for text in texts:
        assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
    error = parsed_error(call(*words, "--json"))
    for text in texts:
        assert text in error["message"]


def _commands(group: click.Group, *before: str) -> Iterator[tuple[list[str], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, *before, name)
        else:
            yield [*before, name], command


def test_empty_text_is_refused_by_every_command_and_option(call: Call) -> None:
    seen = []
    for words, command in _commands(main):
        for item in command.params:
            if isinstance(item.type, click.types.StringParamType) and not (item.name or "").startswith("setting__"):
                given = ["", ""] if isinstance(item, click.Argument) else [item.opts[0], ""]
                result = call(*words, *given)
                assert result.exit_code == 2, (words, item.name)
                shown = item.make_metavar(click.Context(command)) if isinstance(item, click.Argument) else item.opts[0]
                assert f"Invalid value for '{shown}': empty text" in result.stderr
                seen.append((*words, item.opts[0]))
    for expected in (("tune", "--resume"), ("distill", "--experts"), ("run", "--out"), ("info", "run")):
        assert expected in seen


@pytest.mark.parametrize("command", ["experts", "distill"])
def test_a_command_that_would_do_nothing(call: Call, words: Words, tmp_path: Path, command: str) -> None:
    result = call(command, *words(run__methods="none"), "--out", str(tmp_path / "run"), "--json")
    assert result.exit_code == 2
    assert "run.methods = []: nothing to do: name a method with --methods" in parsed_error(result)["message"]
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_command_line_is_json_too(call: Call) -> None:
    result = call("run", "--json", "--ipc")
    assert result.exit_code == 2
    assert "requires an argument" in parsed_error(result)["message"]
    result = call("runn")
    assert result.exit_code == 2
    assert "No such command 'runn'" in result.stderr


def test_more_images_per_class_than_there_are(call: Call, words: Words, tmp_path: Path) -> None:
    result = call("run", *words(distill__ipc=11), "--out", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert "distill.ipc = 11: class '0' has 10 training images; largest valid: 10" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_inner_batch_larger_than_the_synthetic_set(call: Call, words: Words, tmp_path: Path) -> None:
    result = call("run", *words(distill__ipc=11, distill__batch_size=111), "--out", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert "2 problems" in result.stderr
    assert "distill.batch_size = 111: the synthetic set has ipc*K = 110 images" in result.stderr


def test_more_training_images_than_there_are(call: Call, words: Words, tmp_path: Path) -> None:
    result = call("run", *words(data__train_size=5000), "--out", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert "data.train_size = 5000" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", ["serial", "ray"])
@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_a_gpu_where_there_is_none(
    call: Call,
    words: Words,
    reference: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    command: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = ["--device", "cuda", "--compute.backend", backend, "--out", str(tmp_path / "run")]
    start = ["run", *words()] if command == "run" else ["evaluate", str(reference.directory.path)]
    result = call(*start, *options, "--json")
    assert result.exit_code == 1
    assert parsed_error(result)["type"] == "ResourceError"
    assert "torch finds no GPU on this machine; use 'cpu' or 'auto'" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "experts", "distill"])
def test_a_directory_that_cannot_be_written(call: Call, words: Words, tmp_path: Path, command: str) -> None:
    (tmp_path / "blocked").write_text("a file")
    for out in (tmp_path / "blocked", tmp_path / "blocked" / "run", Path("/proc/ast-ray-run")):
        result = call(command, *words(), "--out", str(out))
        assert result.exit_code == 1
        assert f"{out}: cannot be written" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["blocked"]


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_no_space_left(call: Call, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(2**40, 2**40, 2**20))
    result = call("run", *words(), "--out", str(tmp_path / "run"))
    assert result.exit_code == 1
    assert "MiB needed for experts, 1 MiB free" in result.stderr
    assert "lower expert.count or expert.epochs, or set compute.store" in result.stderr
    assert list(tmp_path.iterdir()) == []
    result = call("run", *words(run__methods="none", run__baselines="random"), "--out", str(tmp_path / "run"))
    assert result.exit_code == 1
    assert "the disk is full, 1 MiB free" in result.stderr
    assert "MiB needed" not in result.stderr


def test_no_space_in_the_shared_store(
    call: Call, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(path: Path) -> _Usage:
        return _Usage(2**40, 0, 0 if "store" in str(path) else 2**40)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    result = call("run", *words(compute__store=str(tmp_path / "store")), "--out", str(tmp_path / "run"))
    assert result.exit_code == 1
    assert f"{tmp_path / 'store'}: " in result.stderr


def test_a_directory_with_a_damaged_config(call: Call, words: Words, tmp_path: Path) -> None:
    for content in ("{", "", "- 1"):
        (tmp_path / "config.yaml").write_text(content)
        result = call("run", *words(), "--out", str(tmp_path))
        assert result.exit_code == 1
        assert "config.yaml: cannot be read" in result.stderr
        assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_a_config_file_with_problems(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("distill: {ipcc: 3, rho: -1}\nseeed: 3\n")
    result = call("run", "--config", str(file), "--nonsense", "3", "--out", str(tmp_path / "run"))
    assert result.exit_code == 2
    for text in (
        "4 problems",
        "distill.ipcc",
        "did you mean 'distill.ipc'",
        "distill.rho = -1",
        "'seed'",
        "--nonsense",
    ):
        assert text in result.stderr
    for content in ("{", "just text", ""):
        file.write_text(content)
        assert call("run", "--config", str(file), "--out", str(tmp_path / "run")).exit_code == 2
    assert [found.name for found in tmp_path.iterdir()] == ["settings.yaml"]


@pytest.mark.parametrize("spoil", ["missing", "folder", "pickle", "checkpoint", "truncated"])
def test_sets_that_cannot_be_evaluated(call: Call, reference: Plan, tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "synthetic.safetensors"
    whole = reference.directory.method("ast").synthetic.read_bytes()
    if spoil == "folder":
        path = tmp_path / "empty"
        path.mkdir()
    elif spoil == "pickle":
        torch.save({"images": torch.zeros(1)}, path)
    elif spoil == "checkpoint":
        shutil.copy(reference.directory.method("ast").checkpoint, path)
    elif spoil == "truncated":
        path.write_bytes(whole[:-7])
    before = sorted(tmp_path.rglob("*"))
    result = call("evaluate", str(path), "--json", "--backend", "serial")
    assert result.exit_code == 1
    assert parsed_error(result)["type"] == "StoreError"
    assert path.name in parsed_error(result)["message"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_set_of_other_images(call: Call, words: Words, reference: Plan, tmp_path: Path) -> None:
    import dataclasses

    from ast_ray.storage.synthetic import load_synthetic, save_synthetic

    ours = load_synthetic(reference.directory.method("ast").synthetic)
    other = dataclasses.replace(ours, images=torch.zeros(10, 3, 8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
    named = dataclasses.replace(ours, class_names=tuple("abcdefghij"))
    for name, foreign, text in (
        ("shape", other, "images are (3, 8, 8)"),
        ("names", named, "distilled for the classes"),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_synthetic(path, foreign)
        result = call("evaluate", str(path), "--out", str(tmp_path / "rows"), "--backend", "serial", "--json")
        assert result.exit_code == 1
        assert parsed_error(result)["type"] == "DataError"
        assert text in result.stderr
        assert not (tmp_path / "rows").exists()


def test_no_run_directory(call: Call, tmp_path: Path) -> None:
    result = call("info", str(tmp_path), "--json")
    assert result.exit_code == 1
    assert "not a run directory (no config.yaml in it)" in parsed_error(result)["message"]


def test_an_unknown_preset_is_not_shown(call: Call) -> None:
    result = call("presets", "show", "cifar10-ipc2", "--json")
    assert result.exit_code == 2
    assert "did you mean 'cifar10-ipc" in json.loads(result.stdout)["error"]["message"]


def test_a_setting_that_the_outer_optimizer_does_not_use(call: Call, words: Words, tmp_path: Path) -> None:
    """Given by option, by a file or with the other optimizer; a whole file of a run of the other one is no problem."""
    refused = call("run", *words(distill__lr_img=5), "--out", str(tmp_path / "run"))
    assert refused.exit_code == 2
    assert "distill.lr_img = 5.0: not used with distill.outer = normalized" in refused.stderr
    (tmp_path / "mine.yaml").write_text("distill: {lr_lr: 1e-6}\n")
    filed = call("run", *words(), "--config", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "run"))
    assert filed.exit_code == 2
    assert "distill.lr_lr = 1e-06: not used" in filed.stderr
    assert not (tmp_path / "run").exists()
    (tmp_path / "whole.yaml").write_text("distill: {outer: sgd, lr_img: 5.0, lr_lr: 1e-6, student_lr: 0.01}\n")
    for outer in ("sgd", "normalized"):
        given = words(distill__outer=outer, run__methods="ast", run__baselines="none")
        done = call("run", *given, "--config", str(tmp_path / "whole.yaml"), "--out", str(tmp_path / outer))
        assert done.exit_code == 0, done.stderr

"""``ast-ray data``, the preset chosen from ``--source`` or ``--dataset`` and ``--ipc``, a run that needs no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ast_ray.cli.main import main
from ast_ray.cli.options import build_config, given_settings, setting_options
from ast_ray.cli.session import decode
from ast_ray.config import Config
from ast_ray.config.presets import preset
from ast_ray.errors import ConfigError
from tests.tiny import Recorder


def invoke(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def as_json(*words: object) -> Any:
    result = invoke(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def parse(*words: object) -> Config:
    """What the options of a working command add up to."""
    import click

    found: list[Config] = []

    @click.command()
    @setting_options
    def command(**options: Any) -> None:
        found.append(build_config(options.pop("preset_name"), options.pop("config_file"), options))

    result = CliRunner().invoke(command, [str(word) for word in words])
    if result.exception is not None:
        raise result.exception
    return found[0]


def test_inspect_tells_everything(pets: Path, tmp_path: Path):
    png = tmp_path / "out" / "samples.png"
    told = as_json("data", "inspect", pets, "--root", tmp_path / "cache", "--png", png, "--ipc", 2)
    assert told["image_shape"] == [3, 16, 16]
    assert told["class_names"] == ["cat", "dog", "fish"]
    assert (told["train_counts"], told["test_counts"]) == ([8, 8, 8], [2, 2, 2])
    assert len(told["means"]) == len(told["deviations"]) == 3
    assert any("3 grey, 3 with transparency, of 30" in note for note in told["notes"])
    assert told["preset"] == "pets-ipc2"
    assert told["settings"]["distill"]["ipc"] == 2
    assert told["cache_bytes"] == Path(told["cache"]).stat().st_size
    assert told["expert_bytes"] > 0
    with Image.open(png) as image:
        # 3 rows of 8 samples, each 16 px enlarged four times with a gap of 2
        assert image.size == (8 * 66 + 2, 3 * 66 + 2)


def test_inspect_for_people(pets: Path, tmp_path: Path):
    result = invoke("data", "inspect", pets, "--root", tmp_path, "--png", tmp_path / "s.png", "--image-size", 8)
    assert result.exit_code == 0, result.output
    for part in ("8x8 px, rgb", "training images: 24, 8 per class", "classes: 3: cat, dog, fish", "preset: pets-ipc1"):
        assert part in result.stdout
    assert "disk for experts:" in result.stdout


def test_inspect_skips_or_refuses_corrupt_files(pets: Path, tmp_path: Path):
    (pets / "cat" / "0.png").write_bytes(b"x")
    words = ("data", "inspect", pets, "--root", tmp_path, "--png", tmp_path / "s.png")
    refused = invoke(*words)
    assert refused.exit_code == 1
    assert "cat/0.png (not an image of a known format)" in refused.stderr
    told = as_json(*words, "--skip-corrupt")
    assert "went on without 1 image, annotation or class;" in told["warnings"][0]


def test_list_and_clear(pets: Path, tmp_path: Path):
    root = ("--root", tmp_path / "cache")
    as_json("data", "inspect", pets, *root, "--png", tmp_path / "s.png")
    (entry,) = as_json("data", "list", *root)
    assert (entry["source"], entry["images"], entry["kind"]) == (str(pets), 30, "images")
    assert "3x16x16" in invoke("data", "list", *root).stdout
    assert invoke("data", "clear", "nothing", *root).exit_code == 2
    assert as_json("data", "clear", entry["content_id"], *root)["deleted"] == [entry["path"]]
    assert as_json("data", "list", *root) == []


def test_a_folder_and_ipc_are_a_whole_configuration(pets: Path, tmp_path: Path):
    config = parse("--source", pets, "--ipc", 2, "--root", tmp_path)
    assert (config.data.source, config.distill.ipc, config.preset) == (str(pets), 2, "pets-ipc2")
    assert (config.network.width, config.network.depth, config.expert.batch_size) == (32, 2, 8)
    changed = parse("--source", pets, "--ipc", 2, "--root", tmp_path, "--width", 8, "--image-size", 8)
    assert (changed.network.width, changed.data.image_size, changed.network.depth) == (8, 8, 1)


def test_a_dataset_and_ipc_are_a_whole_configuration(pets: Path):
    assert parse("--dataset", "cifar100", "--ipc", 10) == preset("cifar100-ipc10")
    assert parse("--dataset", "meow", "--ipc", 1) == preset("meow-ipc1")
    assert parse("--source", "cifar10", "--ipc", 50) == preset("cifar10-ipc50")
    elsewhere = parse("--dataset", "cifar10", "--ipc", 1, "--source", pets)
    assert (elsewhere.data.source, elsewhere.data.preprocess, elsewhere.preset) == (str(pets), "zca", "cifar10-ipc1")
    assert parse("--dataset", "mnist").distill.augmentation == "crop_cutout_scale_rotate"


def test_an_explicit_preset_wins():
    config = parse("--preset", "cifar10-cpu", "--dataset", "cifar100", "--ipc", 3)
    assert (config.preset, config.data.source, config.distill.ipc) == ("cifar10-cpu", "cifar100", 3)
    assert config.network == preset("cifar10-cpu").network
    assert parse() == preset("digits")


def test_bad_input_is_told_once_with_the_nearest_name(tmp_path: Path):
    with pytest.raises(ConfigError, match="dataset = 'cifer10': unknown dataset; did you mean 'cifar10'"):
        parse("--dataset", "cifer10")
    with pytest.raises(ConfigError) as caught:
        parse("--source", tmp_path / "nowhere", "--resize", "squash", "--width", 0)
    assert sorted(problem.setting for problem in caught.value.problems) == ["data.resize", "network.width"]
    with pytest.raises(ConfigError, match="neither a known dataset nor an existing path"):
        parse("--source", tmp_path / "nowhere")


def test_flags_need_no_value():
    given: list[dict[str, Any]] = []
    import click

    @click.command()
    @setting_options
    def command(**options: Any) -> None:
        given.append(given_settings(options))

    for words in (["--skip-corrupt"], ["--skip-corrupt", "false"], ["--skip-corrupt", "--ipc", "2"]):
        assert CliRunner().invoke(command, words).exit_code == 0
    assert [one.get("data.skip_corrupt") for one in given] == ["true", "false", "true"]
    assert given[2]["distill.ipc"] == "2"


def test_a_run_on_a_folder_needs_nothing_but_folder_and_ipc(
    pets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """The words are those a user types; only the automatic preset's size is turned down, and where it runs."""
    import dataclasses

    from ast_ray.config.presets import automatic
    from ast_ray.stages.tools import inspect_source as inspect_data

    def tiny(facts: Any, ipc: int) -> Config:
        config = automatic(facts, ipc)
        replace = dataclasses.replace
        return replace(
            config,
            data=replace(config.data, root=str(tmp_path / "cache")),
            network=replace(config.network, width=4),
            expert=replace(config.expert, count=1, epochs=6),
            distill=replace(
                config.distill, iterations=2, syn_steps=2, expert_epochs=2, max_start_epoch=3, validate_networks=1
            ),
            evaluate=replace(config.evaluate, networks=1, passes=3, full_epochs=1, full_steps=0),
            compute=replace(config.compute, backend="serial"),
        )

    monkeypatch.setattr(inspect_data, "automatic", tiny)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = invoke("run", "--source", pets, "--ipc", 1)
    assert result.exit_code == 0, result.output
    assert "AST" in result.stdout
    assert (tmp_path / "runs/pets-ipc1/distill/ast/synthetic.safetensors").exists()


def test_what_was_left_out_is_said(pets: Path, tmp_path: Path):
    (pets / "cat" / "0.png").write_bytes(b"x")
    config = parse("--source", pets, "--root", tmp_path, "--skip-corrupt")
    sink = Recorder()
    for _ in range(2):  # decoded, then from the cache
        decode(config, sink, on_ray=False)  # type: ignore[arg-type]
    assert len(sink.messages) == 2
    assert (
        "went on without 1 image, annotation or class; first: cat/0.png (not an image of a known format)"
        in sink.messages[1]
    )
    assert [(update.key, update.done, update.total) for update in sink.updates][-1] == ("decode pets", 30, 30)


def test_presets_are_listed_with_what_they_need():
    rows = as_json("presets", "list", "--time")
    assert rows["cifar100-ipc10"]["paper"] == [44.4, 0.6]
    assert rows["digits"]["paper"] is None
    assert rows["cifar10-ipc1"]["disk_bytes"] == 2 * 50 * 51 * 4 * 320_010 + 60_000 * 3080
    assert 0 < rows["digits"]["seconds"] < rows["cifar10-cpu"]["seconds"] < rows["cifar10-ipc1"]["seconds"]
    untimed = as_json("presets", "list")
    assert untimed == {name: {key: row[key] for key in row if key != "seconds"} for name, row in rows.items()}
    shown = invoke("presets", "list").stdout
    assert "presets list --time" in shown
    assert "48.8 ± 0.9" in shown
    assert "mtt-tiny-ipc50" in shown

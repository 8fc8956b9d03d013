from __future__ import annotations

from pathlib import Path

from ast_ray.storage.run_directory import RunDirectory, moments


def test_every_path_is_inside_the_run_and_none_stands_twice() -> None:
    run = RunDirectory(Path("/run"))
    method = run.method("ast")
    paths = [run.config, run.manifest, run.experts, run.results, run.tensorboard]
    paths += [method.checkpoint, method.synthetic, method.last, method.initial, method.metrics, method.picture]
    paths += [method.outcome, run.row("ast", "convnet", "strict", 0), run.row("ast", "convnet", "strict", 1)]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to("/run") for path in paths)


def test_methods_do_not_share_files() -> None:
    run = RunDirectory(Path("/run"))
    assert run.method("ast").checkpoint != run.method("mtt").checkpoint
    assert run.method("ast").path == Path("/run/distill/ast")


def test_the_paths_that_scripts_know() -> None:
    run = RunDirectory(Path("/run"))
    assert run.results == Path("/run/results.json")
    assert run.config == Path("/run/config.yaml")
    assert run.method("mtt").synthetic == Path("/run/distill/mtt/synthetic.safetensors")
    assert run.row("ast", "convnet", "strict", 3) == Path("/run/evaluation/ast-convnet-strict-3.json")


def test_files_of_other_names_are_no_snapshots(tmp_path: Path) -> None:
    for name in ("", "x", "-1", "1.5", "1e3", " 7", "0x1", "\u00b2", "\u0663", "9" * 30, "000050", "7"):
        (tmp_path / f"iteration-{name}.png").write_bytes(b"")
    (tmp_path / "iteration-3.jpg").write_bytes(b"")
    found = {number: path.name for number, path in moments(tmp_path).items()}
    assert found == {50: "iteration-000050.png", 7: "iteration-7.png"}

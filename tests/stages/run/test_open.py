from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ast_ray.config import Config, load_yaml
from ast_ray.errors import ConfigError, ResourceError, StoreError
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.open import open_search
from ast_ray.stages.run.open import check_run, record_run
from ast_ray.stages.run.pipeline import Plan
from ast_ray.stages.run.preflight import check_folder, expert_bytes, parameter_count
from tests import documents
from tests.tiny import tiny_plan

# ConvNet of width 4 and depth 1 on 8x8 grey images: conv 4*9 + 4, norm 4 + 4, linear 10*(4*16) + 10.
P = 36 + 4 + 8 + 640 + 10


def test_the_size_of_an_expert_by_hand(tiny: Callable[..., Config], reference: Plan) -> None:
    assert parameter_count(tiny(), reference.data) == P
    assert expert_bytes(tiny(), reference.data) == 4 * P * 4  # epochs 0..3
    size = reference.buffer("ast").path(0).stat().st_size
    assert 4 * P * 4 < size < 4 * P * 4 + 2**14


def test_checking_writes_nothing_but_the_folder(tiny: Callable[..., Config], tmp_path: Path) -> None:
    check_run(tiny_plan(tiny(), tmp_path / "run"))
    assert list((tmp_path / "run").iterdir()) == []


def test_a_recorded_run_can_be_read_back_and_remembers_its_commands(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    plan = tiny_plan(tiny(), tmp_path)
    for word in ("one", "two"):
        check_run(plan)
        record_run(plan, ["ast-ray", word])
    assert load_yaml(plan.directory.config) == plan.config
    manifest = documents.content(plan.directory.manifest)
    assert [entry["command"][1] for entry in manifest["commands"]] == ["one", "two"]
    assert manifest["data_id"] == plan.data.data_id
    plan.directory.manifest.write_text("{")
    record_run(plan, ["ast-ray", "three"])
    assert len(documents.content(plan.directory.manifest)["commands"]) == 1


def test_what_a_killed_run_left_is_cleared_away_by_the_next_command(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    """Some seconds after the kill, in the run's folder and among experts in a store, and nothing else there."""
    plan = tiny_plan(tiny(compute__store=str(tmp_path / "store")), tmp_path / "run")
    folders = (plan.directory.path, plan.directory.method("ast").path, plan.buffer("ast").folder)
    for folder in folders:
        folder.mkdir(parents=True)
        for name in (".partial-left.parquet", "kept.parquet", ".kept"):
            (folder / name).write_bytes(b"half")
            os.utime(folder / name, (time.time() - 5, time.time() - 5))
    record_run(plan, ["ast-ray", "run"])
    for folder in folders:
        assert {path.name for path in folder.iterdir()} >= {"kept.parquet", ".kept"}
        assert not (folder / ".partial-left.parquet").exists(), folder


def test_a_search_clears_away_what_a_killed_one_left(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path
) -> None:
    left = tmp_path / "trials" / "abc" / ".partial-left.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 5, time.time() - 5))
    open_search(tiny(), reference.data, SearchDirectory(tmp_path), "param_space = {}", ["ast-ray", "tune"])
    assert not left.exists()
    assert left.parent.exists()


@pytest.fixture
def no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=64 * 2**20 + 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_space_is_needed_for_what_is_missing_only(
    tiny: Callable[..., Config], reference: Plan, tmp_path: Path, no_space: None
) -> None:
    with pytest.raises(ResourceError, match="MiB needed for experts, 64 MiB free"):
        check_run(tiny_plan(tiny(), tmp_path / "new"))
    shutil.copytree(reference.directory.experts, tmp_path / "old" / "experts")
    check_run(tiny_plan(tiny(), tmp_path / "old"))
    with pytest.raises(ResourceError, match="needed for experts"):
        check_run(tiny_plan(tiny(run__methods="none", run__baselines="representative"), tmp_path / "new"))
    check_run(tiny_plan(tiny(run__methods="none", run__baselines="random"), tmp_path / "new"))


def test_a_folder_with_too_little_space(tmp_path: Path, no_space: None) -> None:
    check_folder(tmp_path, 10)
    with pytest.raises(ResourceError, match="1 MiB needed for experts, 64 MiB free"):
        check_folder(tmp_path, 11)


def test_every_problem_with_the_images_at_once(tiny: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_run(tiny_plan(tiny(distill__ipc=12, distill__batch_size=500), tmp_path / "run"))
    assert [problem.setting for problem in caught.value.problems] == ["distill.ipc", "distill.batch_size"]
    assert not (tmp_path / "run").exists()


def test_a_buffer_of_another_method_says_which(tiny: Callable[..., Config], reference: Plan, tmp_path: Path) -> None:
    plan = tiny_plan(tiny(), tmp_path / "run", buffer=reference.buffer("ast").folder)
    with pytest.raises(StoreError, match=r"expert\.penalty_weight: 0\.0 here, 0\.1 there") as caught:
        check_run(plan)
    assert "asked for by method 'mtt'" in caught.value.__notes__[0]
    assert not (tmp_path / "run").exists()

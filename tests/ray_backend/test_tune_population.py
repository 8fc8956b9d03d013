from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from ast_ray.config.identity import fingerprint
from ast_ray.ray_backend.tune.population import Clamp, adopt, member_name, members, mutations
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.trial import Trial, plan_trial, run_trial, train_missing
from ast_ray.storage.checkpoint import read_checkpoint
from ast_ray.storage.containers.documents import unsealed
from tests.tiny import Recorder, tiny_config


def member(search: Path, root: Path, number: int, **overrides: Any) -> Trial:
    config = tiny_config(root, {"tune.budget": 4, "tune.grace": 2})
    named = {f"distill.{name}": value for name, value in overrides.items()}
    trial = plan_trial(config, named, "digits", SearchDirectory(search))
    return dataclasses.replace(trial, name=member_name(number), identity={"member": number})


@pytest.fixture
def handed(tmp_path: Path) -> tuple[Trial, Path]:
    """A member after two iterations, and what it hands over."""
    donor = member(tmp_path / "search", tmp_path, 0, student_lr=0.02, lr_img=10.0)
    rungs = run_trial(donor, train_missing, Recorder())
    next(rungs)
    rungs.close()
    folder = tmp_path / "handed"
    folder.mkdir()
    shutil.copy(donor.directory.work.checkpoint, folder)
    shutil.copy(donor.directory.work.metrics, folder)
    about = {"member": donor.name, "fingerprint": fingerprint(donor.identity), "overrides": dict(donor.overrides)}
    (folder / "member.json").write_text(json.dumps(about), encoding="utf-8")
    return donor, folder


def test_a_member_takes_over_state_history_and_scaled_alpha(handed: tuple[Trial, Path], tmp_path: Path) -> None:
    donor, folder = handed
    taker = member(tmp_path / "search", tmp_path, 1, student_lr=0.03, lr_img=12.0)
    adopt(taker, folder)
    theirs = read_checkpoint(donor.directory.work.checkpoint, fingerprint(donor.identity))
    mine = read_checkpoint(taker.directory.work.checkpoint, fingerprint(taker.identity))
    assert theirs is not None
    assert mine is not None
    assert mine.values == theirs.values
    assert mine.tensors["images"].equal(theirs.tensors["images"])
    assert float(mine.tensors["student_lr"]) == pytest.approx(1.5 * float(theirs.tensors["student_lr"]))
    (line,) = (taker.directory.path / "lineage.jsonl").read_text(encoding="utf-8").splitlines()
    assert unsealed(json.loads(line)) == {"iteration": 2, "from": donor.name, "overrides": dict(taker.overrides)}
    rungs = list(run_trial(taker, train_missing, Recorder()))
    assert [(rung.iteration, rung.status) for rung in rungs] == [(2, "running"), (4, "finished")]
    assert [record.fingerprint for record in members(taker.search)] == [donor.name, taker.name]


def test_a_members_own_later_state_is_kept(handed: tuple[Trial, Path]) -> None:
    donor, folder = handed
    list(run_trial(donor, train_missing, Recorder()))
    adopt(donor, folder)
    own = read_checkpoint(donor.directory.work.checkpoint, fingerprint(donor.identity))
    assert own is not None
    assert own.values["iteration"] == 4


def test_only_ranges_a_running_member_can_take_up_are_perturbed_and_within_bounds() -> None:
    space = {
        "distill.lr_img": tune.loguniform(1.0, 100.0),
        "distill.rho": 0.1,
        "distill.beta_strategy": tune.choice(["equal"]),
        "expert.lr": tune.uniform(0.01, 0.1),
    }
    changing = mutations(space)
    assert set(changing) == {"distill.lr_img"}
    clamp = Clamp(changing)
    assert clamp({"distill.lr_img": 130.0, "distill.rho": 0.2}) == {"distill.lr_img": 100.0, "distill.rho": 0.2}
    assert clamp({"distill.lr_img": 0.4}) == {"distill.lr_img": 1.0}

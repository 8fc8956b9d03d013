"""What needs no torch, no Ray and no scikit-learn does not wait for them to be imported."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import subprocess_environment

HEAVY = ("matplotlib", "pandas", "ray", "scipy", "sklearn", "tensorboard", "torch", "torchvision")
QUICK = {
    "--help": 0,
    "--version": 0,
    "run --help": 0,
    "presets list": 0,
    "presets list --json": 0,
    "presets show digits": 0,
    "methods": 0,
    "methods --preset dm-cifar10-ipc10 --json": 0,
    "presets show digts": 2,
    "runn": 2,
    "run --preset digits --ipc": 2,
    "run --preset digts": 2,
    "run --preset digits --ipc 0": 2,
    "run --preset digits --methods dm --distill.init representative": 2,
    "experts --preset digits --methods dm": 2,
    "experts --no-such-setting 3": 2,
    "distill --dataset cifra10": 2,
    "evaluate random --no-such-setting 3": 2,
    "import images.npz --to set.pt": 2,
    "tune --preset digts": 2,
    "tune --preset digits --space ast_coer": 2,
    "tune --preset digits --trials many": 2,
    "tune --preset digits --space no/such.py": 2,
    "submit run --ipc 0": 2,
    "info no-such-run": 1,
    "report no-such-run": 1,
}
_SCRIPT = """
import json, sys
from ast_ray.cli.main import main

found = {}
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:
        loaded = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
        found[" ".join(words)] = [end.code, loaded]
print("\\n" + json.dumps(found))
"""


def python(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(command, env=subprocess_environment(), cwd=folder, capture_output=True, text=True)


def test_nothing_heavy_is_imported_where_it_is_not_needed(tmp_path: Path) -> None:
    lines = [shlex.split(line) for line in QUICK]
    done = python("-c", _SCRIPT, json.dumps(lines), json.dumps(HEAVY), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {line: [code, []] for line, code in QUICK.items()}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", ["ast_ray", "ast_ray.config", "ast_ray.report.page"])
def test_modules_that_say_they_need_no_torch_bring_none(module: str, tmp_path: Path) -> None:
    script = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    assert python("-c", script, folder=tmp_path).stdout.split() == []


def test_every_command_is_completed_with_its_sentence(tmp_path: Path) -> None:
    completion = (
        "import os; os.environ.update(_AST_RAY_COMPLETE='fish_complete', COMP_WORDS='ast-ray ', COMP_CWORD='')\n"
    )
    start = "from ast_ray.cli.main import main; main(prog_name='ast-ray')"
    done = python("-c", completion + start, folder=tmp_path)
    told = dict(line.removeprefix("plain,").split("\t") for line in done.stdout.splitlines())
    assert {"run", "presets", "tune", "report"} <= told.keys(), done.stderr
    assert all(text.strip() for text in told.values())

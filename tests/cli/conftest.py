from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ast_ray.cli.main import main
from ast_ray.config import Config
from ast_ray.stages.run.pipeline import Plan
from tests.tiny import arguments, serial_run, subprocess_environment

Call = Callable[..., Result]


@pytest.fixture(scope="session")
def words(root: Path) -> Callable[..., list[str]]:
    """The tiny settings as command-line words; keyword names use __ for the dot."""

    def make(**overrides: object) -> list[str]:
        return arguments(root, {name.replace("__", "."): value for name, value in overrides.items()})

    return make


@pytest.fixture
def call() -> Call:
    """Run a command in this process; what it printed is in stdout and stderr of the result."""

    def run(*command: str) -> Result:
        result = CliRunner().invoke(main, [str(word) for word in command])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture(scope="session")
def reference(tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """An undisturbed serial run of both methods; nobody writes in it."""
    return serial_run(tiny(), tmp_path_factory.mktemp("reference"))


@pytest.fixture
def start() -> Callable[[Sequence[str]], subprocess.Popen[str]]:
    """Start ``python -m ast_ray`` as its own process."""

    def popen(command: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ast_ray", *command],
            env=subprocess_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return popen


def parsed_error(result: Result) -> Mapping[str, Any]:
    """The error object of a ``--json`` command; nothing else stands on stdout."""
    found = json.loads(result.stdout)
    assert found.keys() == {"error"}
    assert found["error"].keys() == {"type", "message"}
    return dict(found["error"])

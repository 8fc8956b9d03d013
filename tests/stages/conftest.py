from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ast_ray.config import Config
from ast_ray.stages.pipeline import Plan
from tests.tiny import serial_run, tiny_config


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache of decoded images."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="session")
def tiny(root: Path) -> Callable[..., Config]:
    """Build a tiny configuration; keyword names use __ for the dot."""

    def make(**overrides: object) -> Config:
        return tiny_config(root, {name.replace("__", "."): value for name, value in overrides.items()})

    return make


@pytest.fixture(scope="session")
def reference(tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """An undisturbed serial run of both methods; nobody writes in it."""
    return serial_run(tiny(), tmp_path_factory.mktemp("reference"))

from __future__ import annotations

from collections.abc import Callable

import pytest

from ast_ray.config import Config
from ast_ray.stages.run.pipeline import Plan
from tests.tiny import serial_run


@pytest.fixture(scope="session")
def reference(tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """An undisturbed serial run of both methods; nobody writes in it."""
    return serial_run(tiny(), tmp_path_factory.mktemp("reference"))

from __future__ import annotations

from pathlib import Path

import pytest

from ast_ray.stages.run.pipeline import Plan
from ast_ray.stages.tools.features import write_features
from tests.small_run import make_run, small_config


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A finished run of both methods, with the features for the report."""
    folder = tmp_path_factory.mktemp("report")
    plan = make_run(folder / "first", small_config(folder))
    write_features(plan, "ast")
    return plan


@pytest.fixture(scope="session")
def run(plan: Plan) -> Path:
    """Its directory; tests do not change it."""
    return plan.directory.path

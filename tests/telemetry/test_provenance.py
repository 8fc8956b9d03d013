from __future__ import annotations

import json
import os
import platform

import pytest
import torch

from ast_ray.telemetry import provenance
from ast_ray.telemetry.provenance import environment


def test_versions_and_machine() -> None:
    found = environment()
    assert found["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert found["versions"].keys() >= {"ast-ray", "torch", "torchvision", "ray", "scikit-learn", "pyarrow", "numpy"}
    assert found["python"] == platform.python_version()
    assert found["cpus"] == os.cpu_count()
    assert (found["gpu"] is None) == (not torch.cuda.is_available())


def test_it_is_equal_from_call_to_call_and_goes_into_json() -> None:
    assert json.loads(json.dumps(environment())) == environment()


def test_a_package_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_PACKAGES", ("no-such-package-at-all",))
    assert environment()["versions"] == {"no-such-package-at-all": "not installed"}

"""A cluster that does not answer, and more per task than there is: refused by every command before it asks Ray."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

from ast_ray.ray_backend import session
from tests.cli.conftest import parsed_error

Words = Callable[..., list[str]]
Call = Callable[..., Result]
COMMANDS = ("run", "experts", "distill", "evaluate random", "tune --space smoke")


@pytest.fixture(autouse=True)
def _ray_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would say nothing for minutes."""
    monkeypatch.setattr(session, "_connect", lambda _: pytest.fail("Ray was asked"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_cluster_that_does_not_answer(call: Call, words: Words, tmp_path: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    given = words(compute__backend="ray", compute__address=address)
    result = call(*command.split(), *given, "--out", str(tmp_path / "out"), "--json")
    error = parsed_error(result)
    assert (result.exit_code, error["type"]) == (1, "ResourceError")
    assert f"compute.address = '{address}': no Ray cluster answers (Connection refused)" in error["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_more_per_task_than_this_machine_has(
    call: Call, words: Words, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    given = words(compute__backend="ray", compute__cpus_per_task=3, compute__gpus_per_task=1)
    result = call(*command.split(), *given, "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 2
    message = parsed_error(result)["message"]
    assert "compute.cpus_per_task = 3.0: this machine has 2 CPUs" in message
    assert "compute.gpus_per_task = 1.0: this machine has 0 GPUs" in message
    assert list(tmp_path.iterdir()) == []

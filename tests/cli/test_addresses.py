"""Where only a path will do, an address is refused before anything is written; its password stays unsaid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

Call = Callable[..., Result]
PLANTED = "s3://AKIA:planted/secret@bucket/x"


@pytest.mark.parametrize("address", ["s3://bucket/x.safetensors", "gs://bucket/x", "file:///tmp/x", PLANTED])
@pytest.mark.parametrize(
    "words",
    [
        ("import", "images.pt", "--to", "ADDRESS"),
        ("import", "ADDRESS", "--to", "x.safetensors"),
        ("import", "images.pt", "--labels", "ADDRESS", "--to", "x.safetensors"),
        ("data", "inspect", "digits", "--png", "ADDRESS"),
        ("data", "inspect", "digits", "--root", "ADDRESS"),
        ("data", "inspect", "ADDRESS"),
        ("data", "list", "--root", "ADDRESS"),
        ("data", "clear", "--root", "ADDRESS"),
        ("run", "--source", "ADDRESS"),
        ("run", "--root", "ADDRESS"),
        ("run", "--config", "ADDRESS"),
        ("tune", "--out", "ADDRESS"),
        ("tune", "--resume", "ADDRESS"),
        ("tune", "--space", "ADDRESS"),
        ("submit", "run", "--config", "ADDRESS"),
        ("submit", "run", "--root", "ADDRESS"),
    ],
    ids=" ".join,
)
def test_an_address_is_no_file(
    call: Call, words: tuple[str, ...], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    torch.save({"images": torch.zeros(10, 1, 8, 8), "labels": torch.arange(10)}, "images.pt")
    told = call(*(word.replace("ADDRESS", address) for word in words))
    assert told.exit_code == 2, told.output
    assert "planted" not in told.output
    assert "secret" not in told.output
    assert [path.name for path in tmp_path.rglob("*")] == ["images.pt"]


@pytest.mark.parametrize(
    "words",
    [
        ("submit", "run", "--store", PLANTED),
        ("submit", "run", f"--compute.store={PLANTED}"),
        ("submit", "run", "--compute.address", "ray://user:planted-secret@host:10001"),
        ("submit", "evaluate", PLANTED),
        ("submit", "distill", "--experts", PLANTED),
        ("submit", "run", "--resume", PLANTED),
        ("run", "--compute.address", "ray://user:planted-secret@host:10001"),
        ("run", PLANTED),
        ("info", "here", PLANTED),
        ("info", PLANTED),
        ("export", PLANTED),
        ("export", "here", "--out", PLANTED),
        ("evaluate", PLANTED),
        ("tensorboard", PLANTED),
        ("distill", "--methods", "ast", "--experts", PLANTED),
        ("tune", "--resume", "s3://bucket/x?secret_key=planted-secret"),
    ],
    ids=" ".join,
)
def test_a_secret_is_refused_and_not_repeated(
    call: Call, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = call(*words)
    assert told.exit_code == (2 if words[0] in ("submit", "tune", "distill", "run") else told.exit_code), told.output
    assert told.exit_code in (1, 2)
    if words[0] == "submit":  # refused here and not minutes later on the cluster
        assert "set them in the environment" in told.stderr
    assert "planted" not in told.output
    assert "secret" not in told.output.replace("secret_key", "")
    assert not list(tmp_path.rglob("*"))


def test_the_command_that_is_recorded_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    from ast_ray.cli.command_line import command_line

    monkeypatch.setattr("sys.argv", ["ast-ray", "run", f"--out={PLANTED}", "s3://bucket/run"])
    assert command_line() == ["ast-ray", "run", "--out=s3://***@bucket/x", "s3://bucket/run"]

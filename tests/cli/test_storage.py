"""Commands on s3:// addresses, as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import ast_ray
from ast_ray.stages.run.pipeline import Plan
from tests.cli.conftest import parsed_error
from tests.object_store import CREDENTIALS, ObjectStore
from tests.tiny import artefacts

Words = Callable[..., list[str]]
Call = Callable[..., Result]


def test_a_run_and_everything_that_reads_it(
    call: Call,
    words: Words,
    reference: Plan,
    object_store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run on one machine, its readers on another; the credentials of both stand nowhere."""
    monkeypatch.chdir(tmp_path)
    address = object_store.address("cli/run")
    shared = object_store.address("cli/experts")
    told = call("run", *words(compute__store=shared), "--out", address, "--json")
    outputs = [told.output]
    assert told.exit_code == 0, told.output
    run = json.loads(told.stdout)["run"]
    for name, content in artefacts(reference.directory.path).items():
        assert object_store.content(f"cli/{name}" if name.startswith("experts/") else f"cli/run/{name}") == content

    monkeypatch.setenv("AST_RAY_CACHE", str(tmp_path / "second"))
    for command in (
        ["run", *words(compute__store=shared), "--out", address],
        ["info", run],
        ["report", run, "--no-features"],
        ["report", run, "--out", "page.html", "--no-features"],
        ["export", run, "--format", "npz,png", "--out", object_store.address("cli/exported")],
        ["evaluate", run, "--networks", "1", "--backend", "serial"],
        ["evaluate", object_store.address("cli/exported/ast/png"), "--networks", "1", "--backend", "serial"],
    ):
        told = call(*command)
        outputs.append(told.output)
        assert told.exit_code == 0, (command, told.output)
    assert {"report.html", "distill/ast/evaluation/results.json"} <= object_store.names("cli/run").keys()
    assert b"AST" in object_store.content("cli/run/report.html")
    local = ast_ray.load(reference.directory.method("ast").synthetic)
    for key in ("cli/run/distill/ast", "cli/run/distill/ast/synthetic.safetensors", "cli/exported/ast/npz"):
        assert ast_ray.load(object_store.address(key)).images.equal(local.images)

    places = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    places += [object_store.content(f"cli/{name}") for name in object_store.names("cli")]
    for secret in CREDENTIALS.values():
        assert not any(secret in text for text in outputs)
        assert not any(secret.encode() in content for content in places)
    assert not (tmp_path / "s3:").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--out", "s4://bucket/run"], "unknown scheme 's4'"),
        (["--out", "s3:/bucket/run"], "two slashes"),
        (["--out", "s3://AKIA:planted@bucket/run"], "credentials do not belong in an address"),
        (["--compute.store", "s3://AKIA:planted@bucket/run"], "compute.store = 's3://***@bucket/run'"),
        (["--data.root", "s3://bucket/cache"], "a path of this machine, not an address"),
        (["--out", "s3://no-such-bucket/run?{query}"], "there is no bucket 'no-such-bucket'"),
        (["--compute.store", "s3://no-such-bucket/run?{query}"], "compute.store"),
    ],
)
def test_addresses_are_refused_before_any_work(
    call: Call, words: Words, object_store: ObjectStore, tmp_path: Path, options: list[str], reason: str
) -> None:
    given = [text.replace("{query}", object_store.query) for text in options]
    if "--data.root" not in given:
        given = [*words(), *given]
    if "--out" not in given:
        given += ["--out", str(tmp_path / "run")]
    error = parsed_error(call("run", *given, "--json"))
    assert reason in error["message"]
    assert error["type"] == "ConfigError"
    assert "planted" not in error["message"]
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "cache").exists()


def test_readers_say_what_is_not_there(call: Call, object_store: ObjectStore) -> None:
    address = object_store.address("nothing/here")
    for command in (["info"], ["report", "--no-features"], ["evaluate"], ["export"], ["tensorboard"]):
        told = call(*command, address)
        assert told.exit_code == 1
        assert "s3://bucket/nothing/here" in told.stderr
    told = call("info", object_store.address("x", bucket="no-such-bucket"))
    assert "there is no bucket 'no-such-bucket'" in told.stderr


def test_a_search_stays_in_a_folder(call: Call) -> None:
    told = call("tune", "--out", "s3://bucket/search")
    assert told.exit_code == 2
    assert "a search needs a folder" in told.stderr

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ast_ray.store import remote
from tests.object_store import CREDENTIALS, ObjectStore, running


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectStore]:
    """One S3 server for all tests of this folder."""
    pytest.importorskip("moto", reason="needs moto's S3 server")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with running() as store:
            yield store


@pytest.fixture
def object_store(object_server: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """The server without faults; mirrors in a fresh folder, short pauses between attempts."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AST_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PATIENCE", remote.Patience(attempts=6, first=0.01, longest=0.05))
    yield object_server
    object_server.faults()

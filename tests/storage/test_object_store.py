"""Requests: what is tried again, what is refused at once, and what a person is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_ray.config.address import parse_address
from ast_ray.errors import ConfigError, ResourceError
from ast_ray.storage import mirror
from ast_ray.storage import object_store as remote
from tests.object_store import CREDENTIALS, ObjectStore


def test_failures_that_outlast_the_sdk_are_tried_again(object_store: ObjectStore, tmp_path: Path) -> None:
    """The SDK tries three times by itself; every kind of request survives five failures in a row."""
    address = parse_address(object_store.address("retry/file"))
    (tmp_path / "file").write_bytes(b"content")
    object_store.faults(first=5, how="drop")
    remote.upload(tmp_path / "file", address)
    for number, ask in enumerate((remote.size, remote.listing)):
        assert object_store.faults(first=5, how=("503", "drop")[number])["failed"] == 5
        assert ask(address) is not None
    assert object_store.faults(first=5, how="503")["failed"] == 5
    assert remote.download(address, tmp_path / "copy") is not None
    assert object_store.faults()["failed"] == 5
    assert (tmp_path / "copy").read_bytes() == b"content"


def test_a_server_that_never_answers_ends_in_one_error(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_store.faults(every=1, how="drop")
    monkeypatch.setattr(remote, "PATIENCE", remote.Patience(2, 0.01, 0.01))
    address = object_store.address("gone/file")
    with pytest.raises(ResourceError, match=r"s3://bucket/gone/file.*: cannot be read, tried 2 times: ") as caught:
        remote.read(parse_address(address))
    assert "\n" not in str(caught.value)


def test_no_permission_is_told_at_once(object_store: ObjectStore) -> None:
    object_store.faults(every=1, how="deny")
    with pytest.raises(ResourceError, match=r"denied.*cannot be written: no permission, or no valid credentials"):
        remote.write(parse_address(object_store.address("denied")), b"x")
    assert object_store.faults()["requests"] <= 2


def test_google_without_credentials_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its library says after its own attempts."""
    calls = []

    def refuse(authority: str) -> None:
        calls.append(authority)
        raise OSError("google::cloud::Status(UNAVAILABLE: Could not create a OAuth2 access token to authenticate")

    monkeypatch.setattr(remote, "_filesystem", refuse)
    with pytest.raises(ResourceError, match=r"gs://bucket/x: cannot be read: no permission.*GOOGLE_APPLICATION"):
        remote.read(parse_address("gs://bucket/x"))
    assert calls == ["gs://bucket"]


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        ("no.such.host.invalid", r"nothing answers at no\.such\.host\.invalid:80 \("),
        ("127.0.0.1:99999", "its endpoint is no host and port"),
        ("x" * 300, "nothing answers at xxx"),
    ],
)
def test_an_endpoint_that_cannot_be(endpoint: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in remote._DETOURS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ResourceError, match=told):
        remote.size(parse_address(f"s3://bucket/run?endpoint_override={endpoint}&scheme=http"))


@pytest.mark.parametrize(
    ("scheme", "region", "host"),
    [
        ("s3", None, "s3.amazonaws.com"),
        ("s3", "eu-west-1", "s3.eu-west-1.amazonaws.com"),
        ("s3", "cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
        ("gs", None, "storage.googleapis.com"),
    ],
)
def test_where_an_address_without_endpoint_leads(scheme: str, region: str | None, host: str) -> None:
    assert remote._host(scheme, region) == host


def test_behind_a_proxy_nothing_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    remote.require_answer(parse_address("s3://bucket"), {"endpoint_override": "127.0.0.1:1"})


def test_nobody_listens(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    address = parse_address("s3://bucket/run?endpoint_override=127.0.0.1:1&scheme=http")
    monkeypatch.setattr(remote, "PATIENCE", remote.Patience(2, 0.01, 0.01))
    with pytest.raises(ResourceError, match=r"nothing answers at 127\.0\.0\.1:1 \(Connection refused\)") as caught:
        remote.check(address, "out", writing=True)
    for secret in CREDENTIALS.values():
        assert secret not in str(caught.value)


def test_a_bucket_that_is_not_there(object_store: ObjectStore) -> None:
    path = mirror.place(object_store.address("run", bucket="no-such-bucket"))
    with pytest.raises(ConfigError, match="there is no bucket 'no-such-bucket'"):
        mirror.check(path, "out", writing=True)
    with pytest.raises(ConfigError, match="there is no bucket 'no-such-bucket'"):
        mirror.pull(path)
    assert not path.exists()


def test_the_probe_leaves_nothing(object_store: ObjectStore) -> None:
    mirror.check(mirror.place(object_store.address("probed")), "out", writing=True)
    assert object_store.names("probed") == {}


def test_secrets_are_taken_out_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    assert remote._first_line(OSError("bad key hunter2hunter2\nmore")) == "bad key ***"


def test_the_endpoint_of_the_environment_is_used(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{object_store.port}")
    object_store.put("plain/file", b"found")
    remote._filesystem.cache_clear()
    assert remote.read(parse_address("s3://bucket/plain/file")) == b"found"
    remote._filesystem.cache_clear()


def test_ranges_of_an_object(object_store: ObjectStore) -> None:
    object_store.put("ranges/file", bytes(range(256)))
    with remote.open_ranges(parse_address(object_store.address("ranges/file"))) as file:
        file.seek(100)
        assert file.read(3) == bytes([100, 101, 102])
    with pytest.raises(FileNotFoundError):
        remote.open_ranges(parse_address(object_store.address("ranges/none"))).read()

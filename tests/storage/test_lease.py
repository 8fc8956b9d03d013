"""Leases on addresses: two machines, of which one works, dies, or is cut off."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ast_ray.errors import ResourceError
from ast_ray.storage import claimant, lease, mirror
from ast_ray.storage import object_store as remote
from ast_ray.storage.claim import claimed
from ast_ray.storage.claimant import Claimant
from tests.object_store import ObjectStore


@pytest.fixture
def machine(object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Claim the run at an address as one of several machines, each with a mirror of its own."""

    @contextmanager
    def work(name: str, key: str = "claim/run") -> Iterator[Path]:
        with monkeypatch.context() as patch:
            patch.setenv("AST_RAY_CACHE", str(tmp_path / name))
            patch.setattr(claimant.platform, "node", lambda: name)
            folder = mirror.place(object_store.address(key))
            context = claimed(folder / ".lock", "another run", ["ast-ray", "run", "--on", name])
            context.__enter__()
        try:
            yield folder
        except BaseException as error:
            if not context.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            context.__exit__(None, None, None)

    return work


def test_another_machine_is_told_who_works_there(machine, object_store: ObjectStore) -> None:
    with machine("one"):
        assert ".lease" in object_store.names("claim/run")
        with pytest.raises(ResourceError) as caught, machine("two"):
            pass
        assert "another run is at work in this folder (process" in str(caught.value)
        assert "on one, since" in str(caught.value)
        assert "ast-ray run --on one)" in str(caught.value)
        assert "if it was killed, its lease ends in" in str(caught.value)
    assert object_store.names("claim/run") == {}
    with machine("two"):
        pass


def test_a_run_that_was_killed_is_followed_at_once_on_its_machine_and_later_on_others(
    machine, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = mirror.parse_address(object_store.address("claim/killed/.lease"))
    with monkeypatch.context() as patch:
        patch.setattr(claimant.platform, "node", lambda: "one")
        dead = dataclasses.replace(Claimant.here(["ast-ray"]), pid=2**22 + 1)  # beyond every process number
    remote.write(address, dead.encode())
    with pytest.raises(ResourceError, match="its lease ends in"), machine("two", "claim/killed"):
        pass
    with machine("one", "claim/killed"):
        pass
    remote.write(address, dead.encode())
    monkeypatch.setattr(lease, "TERM", 0.0)
    with machine("two", "claim/killed"):
        pass
    assert object_store.names("claim/killed") == {}


def test_of_two_that_come_in_the_same_moment_one_goes(
    machine, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(Claimant.here(["ast-ray"]), host="two")
    real = remote.write

    def overtaken(address: object, content: bytes) -> None:
        real(address, content)
        if address.key.endswith(".lease"):
            real(address, other.encode())

    monkeypatch.setattr(remote, "write", overtaken)
    with (
        pytest.raises(ResourceError, match=r"at work in this folder \(process \d+ on two"),
        machine("one", "claim/both"),
    ):
        pass
    assert object_store.content("claim/both/.lease") == other.encode()


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN, signal.SIG_DFL], ids=["python", "ignored", "c"])
def _interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let SIGINT do what it does in a terminal, in a shell's background job, and where a library took it over."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
def test_a_holder_renews_and_one_that_lost_its_lease_stops(
    machine, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.05)
    other = dataclasses.replace(Claimant.here(["ast-ray"]), host="two")
    place = mirror.parse_address(object_store.address("claim/lost/.lease"))
    told = r"could not renew its lease for 60 seconds, and another run took the address over; it stops here"

    def work() -> None:
        with machine("one", "claim/lost"):
            remote.delete(place)
            deadline = time.monotonic() + 20
            while remote.read(place) is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert remote.read(place) is not None  # renewed
            while time.monotonic() < deadline:
                remote.write(place, other.encode())  # again: a renewal that had read the place before may write after
                time.sleep(0.01)

    with pytest.raises(ResourceError, match=told):
        work()
    assert remote.read(place) == other.encode()
    remote.delete(place)


def test_a_lease_is_no_part_of_the_run(machine, object_store: ObjectStore) -> None:
    with machine("one", "claim/pulled") as folder:
        mirror.pull(folder)
        assert [path.name for path in folder.iterdir()] == [".lock"]

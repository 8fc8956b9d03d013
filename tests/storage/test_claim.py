"""One run per folder: refused by name, given back at the end, and dropped with the process that held it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ast_ray.errors import ResourceError
from ast_ray.storage.claim import claimed
from ast_ray.storage.claimant import Claimant
from tests.tiny import subprocess_environment

HOLD = """
import sys, time
from pathlib import Path
from ast_ray.storage.claim import claimed
with claimed(Path(sys.argv[1]), "another run", ["ast-ray", "run", "--ipc", "7"]):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(lock: Path) -> subprocess.Popen[str]:
    """Another process that works in the lock's folder."""
    words = [sys.executable, "-c", HOLD, str(lock)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=subprocess_environment())
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_one_is_told_who_works_there(tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    with hold(lock) as process:
        with pytest.raises(ResourceError) as caught, claimed(lock, "another run", ["ast-ray", "run"]):
            pass
        text = str(caught.value)
        assert text.startswith(f"{lock.parent}: another run is at work in this folder (process {process.pid} on ")
        assert text.endswith("ast-ray run --ipc 7); wait for it or end it, or choose another --out")
        found = Claimant.parse(lock.read_bytes())
        assert found is not None
        assert found.pid == process.pid
        process.kill()
    with claimed(lock, "another run", ["ast-ray", "run"]):  # nothing has to be deleted
        found = Claimant.parse(lock.read_bytes())
        assert found is not None
        assert found.pid == os.getpid()


def test_nothing_is_left_of_a_claim(tmp_path: Path) -> None:
    with claimed(tmp_path / "a" / "b" / ".lock", "another run", []):
        assert (tmp_path / "a" / "b" / ".lock").exists()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with claimed(tmp_path / "a" / "b" / ".lock", "another run", []):
        (tmp_path / "a" / "b" / "result").write_text("x")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["result"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="file: cannot be written"), claimed(tmp_path / "file" / ".lock", "x", []):
        pass


def test_a_file_or_a_dangling_link_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    for name in ("link", "file"):
        with pytest.raises(ResourceError, match="cannot be written"), claimed(tmp_path / name / ".lock", "x", []):
            pass


def test_one_at_a_time_however_many_come(tmp_path: Path) -> None:
    """Folder and lock file come and go all the time; never are two of them inside."""
    lock, inside, most, done = tmp_path / "run" / ".lock", [0], [0], [0]
    refused: list[str] = []

    def work() -> None:
        for _ in range(100):
            try:
                with claimed(lock, "another run", []):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    done[0] += 1
                    inside[0] -= 1
            except ResourceError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert done[0] > 0
    assert done[0] + len(refused) == 800
    assert {text for text in refused if "another run is at work in this folder" not in text} == set()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"\xff", b'{"pid": "x"}', b"null"])
def test_a_lock_that_says_nothing(text: bytes) -> None:
    assert Claimant.parse(text) is None


def test_what_a_lock_says_is_read_back() -> None:
    here = Claimant.here(["ast-ray", "run", "--out", "a b"])
    assert Claimant.parse(here.encode()) == here
    assert here.died_here()  # its lock is free, so it is an earlier life of this process

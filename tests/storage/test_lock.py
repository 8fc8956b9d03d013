from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ast_ray.errors import ResourceError
from ast_ray.storage.lock import exclusive

HOLD = """
import sys, time
from pathlib import Path
from ast_ray.storage.lock import exclusive
with exclusive(Path(sys.argv[1]), wait=False, owner="x"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_told_who_works_there(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "a" / ".lock", wait=False, owner="another search"),
        pytest.raises(ResourceError, match=r"a: another search is at work"),
        exclusive(tmp_path / "a" / ".lock", wait=False, owner="another search"),
    ):
        pass


def test_waiting_ends_when_the_holder_lets_go(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with exclusive(tmp_path / ".lock", wait=True, owner="x"):
            order.append("second")

    with exclusive(tmp_path / ".lock", wait=True, owner="x"):
        thread = threading.Thread(target=second)
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ResourceError), exclusive(path, wait=False, owner="x"):
            pass
        process.kill()
        process.wait()
    with exclusive(path, wait=False, owner="x"):
        pass

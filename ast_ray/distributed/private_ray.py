"""Clear away what a Ray of this machine alone leaves behind: session folders, and Ray's agents.

Sessions lie in a folder of this user's own, named by the process that began them. Whoever starts Ray here next deletes
those whose process is gone, but for the last one, whose logs may be wanted.

When a driver is killed its Ray goes with it, but for two agents that wait a minute for an answer of what is dead. A
watchdog, a process of its own that holds the other end of a pipe, ends them a few seconds after their driver's end.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GRACE = 4.0  # seconds that Ray's own processes have to end by themselves
_NAME, _INSIDE = "ast-ray-{user}", "ray"  # Ray opens its own folder to everybody
_WATCHDOG = """
import os, signal, sys, time

def started(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return None

grace, *watched = sys.argv[1:]
sys.stdin.read()  # ends with the driver
time.sleep(float(grace))
for pair in watched:
    pid, _, begun = pair.partition(":")
    if started(pid) == begun:
        os.kill(int(pid), signal.SIGKILL)
"""


def session_folder() -> Path | None:
    """The folder of this user's sessions, made if need be; None (for Ray's own) where it is somebody else's.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / _NAME.format(user=os.getuid())
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder / _INSIDE if ours else None


def remove_dead_sessions(folder: Path) -> None:
    """Delete sessions whose driver is gone, but for the last."""
    dead = [path for path in sorted(folder.glob("session_*_*")) if not path.is_symlink() and not _alive(path)]
    for path in dead[:-1]:
        shutil.rmtree(path, ignore_errors=True)


def _alive(session: Path) -> bool:
    number = session.name.rpartition("_")[2]
    if not number.isdigit():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def watched() -> Iterator[None]:
    """End Ray's processes if this one is gone before the block ends; for use around a Ray that was started here.

    On systems without ``/proc`` nothing is watched.
    """
    pairs = [f"{pid}:{begun}" for pid, begun in _descendants(os.getpid()).items()]
    if not pairs:
        yield
        return
    command = [sys.executable, "-I", "-S", "-c", _WATCHDOG, str(GRACE), *pairs]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as watchdog:
        try:
            yield
        finally:
            watchdog.kill()


def _descendants(pid: int) -> dict[int, str]:
    """Processes below one, each with the time it was started at, by which a number used again is told."""
    parents: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            parents[int(path.parent.name)] = (int(fields[1]), fields[19])
    found: dict[int, str] = {}
    above = {pid}
    while above:
        below = {child: begun for child, (parent, begun) in parents.items() if parent in above and child not in found}
        found |= below
        above = set(below)
    return found

"""Clear away what a Ray of this machine alone leaves behind: session folders, and Ray's agents.

Sessions lie in a folder of this user's own, named by the process that began them. Whoever starts Ray here next deletes
those whose process is gone, but for the last one, whose logs may be wanted.

When a driver is killed its Ray goes with it, but for two agents that wait a minute for an answer of what is dead; they
stay too when a driver ends in an orderly way while Ray starts. A watchdog, a process of its own that holds the other
end of a pipe, ends them a few seconds after their driver's end. It knows a driver's Ray by the session's logs that it
writes: parents are gone by then, and a process that changes its name overwrites its environment.
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

GRACE = 4.0  # seconds that Ray's own processes have to end by themselves after their driver's end
SHORT_GRACE = 1.0  # the same once Ray was told to stop, which waits for most of them
_NAME, _INSIDE = "ast-ray-{user}", "ray"  # Ray opens its own folder to everybody
_WATCHDOG = """
import os, re, signal, sys, time

grace, driver = sys.argv[1:]
log = re.compile(rf"/session_[^/]*_{driver}/logs/[^/]*$")
mine = os.readlink("/proc/self/ns/pid")

def writes_logs(folder):
    for name in os.listdir(folder):
        try:
            if os.lstat(folder + name).st_mode & 0o200 and log.search(os.readlink(folder + name)):
                return True
        except OSError:
            pass
    return False

def of_ray(place):
    with open(place + "cmdline", "rb") as file:
        words = file.read()
    return words.startswith(b"ray::") or b"/ray/" in words

def left():
    found = []
    for name in os.listdir("/proc"):
        place = f"/proc/{name}/"
        try:
            if name.isdigit() and name != driver and os.readlink(place + "ns/pid") == mine:
                if of_ray(place) and writes_logs(place + "fd/"):
                    found.append(int(name))
        except OSError:
            pass
    return found

give_up = float(sys.stdin.read() or grace) + time.monotonic()  # ends with the driver, or once its Ray was stopped
while left() and time.monotonic() < give_up:
    time.sleep(0.05)
for _ in range(20):
    for pid in left():
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    if not left():
        break
    time.sleep(0.1)
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
def watched(driver: int | None = None) -> Iterator[None]:
    """End what is left of a Ray that is started and stopped in the block, at its end or soon after this process's.

    ``driver`` is the process that Ray's session is named by; None for this one. On systems without ``/proc`` nothing is
    watched.
    """
    if not Path("/proc/self/ns/pid").exists():
        yield
        return
    command = [sys.executable, "-I", "-S", "-c", _WATCHDOG, str(GRACE), str(driver or os.getpid())]
    null = subprocess.DEVNULL  # whoever reads what the driver prints does not wait for the watchdog
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True) as watchdog:
        try:
            yield
        finally:
            with suppress(OSError):
                watchdog.communicate(str(SHORT_GRACE).encode())

"""The process that works in a folder, as a lock or a lease names it, and the error of the next one that wants to."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ast_ray.errors import ResourceError
from ast_ray.storage import mirror


@dataclass(frozen=True)
class Claimant:
    """A command and the process that runs it; ``space`` tells process numbers of one container from another's."""

    command: str
    host: str
    pid: int
    space: str
    since: str

    @classmethod
    def here(cls, command: Sequence[str]) -> Claimant:
        """This process."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(shlex.join(command), platform.node(), os.getpid(), _process_space(), since)

    @classmethod
    def parse(cls, text: bytes) -> Claimant | None:
        """Read a lock; None where it says nothing, as in the moment of its making."""
        try:
            found = json.loads(text)
            words = {name: str(found[name]) for name in ("command", "host", "space", "since")}
            return cls(pid=int(found["pid"]), **words)
        except (ValueError, TypeError, KeyError):
            return None

    def encode(self) -> bytes:
        """Return the text that `parse` reads."""
        return json.dumps(asdict(self)).encode()

    def died_here(self) -> bool:
        """Return whether it was a process of this machine and is gone, for one who holds the lock it would hold."""
        if (self.host, self.space) != (platform.node(), _process_space()):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return self.pid == os.getpid()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}: {self.command}"


def _process_space() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def refusal(folder: Path, kind: str, other: Claimant | None, hint: str = "") -> ResourceError:
    """The error of the second one in a folder; ``kind`` is what the first one is."""
    who = f" ({other})" if other else ""
    advice = "wait for it or end it, or choose another --out"
    return ResourceError(f"{mirror.shown(folder)}: {kind} is at work in this folder{who}; {advice}{hint}")

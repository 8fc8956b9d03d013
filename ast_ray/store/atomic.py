"""Write files whole or not at all: a temporary file beside the target, a rename, an upload where there is one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ast_ray.errors import ResourceError
from ast_ray.store import mirror
from ast_ray.store.lock import hold

PREFIX = ".partial-"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; publish it under the target's name if the block succeeds.

    A target that stands for an address in an object store is uploaded (`mirror.publish`).

    Raises:
        ResourceError: the folder cannot be written (permission, no space), or the address cannot be reached.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=PREFIX, suffix=target.suffix)
    except OSError as error:
        raise ResourceError(f"cannot write in {target.parent}: {error.strerror}") from error
    temporary = Path(name)
    hold(handle)  # so that `leftovers` can tell a living writer from a dead one
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ResourceError(f"cannot write {target}: {reason}") from error
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)
    mirror.publish(target)


def write_text(target: Path, text: str) -> None:
    """Publish a text file atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: object) -> None:
    """Publish a JSON file atomically."""
    write_text(target, json.dumps(value, indent=1, allow_nan=False) + "\n")

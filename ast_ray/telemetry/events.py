"""TensorBoard's event files, written so that a full disk is one error, raised where the writing is asked for.

TensorBoard writes from a thread of its own. What that thread meets is raised again at the next call; the trace that
Python would print of it meanwhile is left out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from ast_ray.storage.atomic import writing


@contextmanager
def events(folder: Path, *, purge_step: int | None = None) -> Iterator[SummaryWriter]:
    """Yield a writer of events in ``folder``, for a block that does nothing else; they are on disk when it ends.

    Raises:
        ResourceError: the folder cannot be written, or the disk is full.
    """
    with writing(folder), quiet_writers():
        writer = SummaryWriter(str(folder), purge_step=purge_step)
        try:
            yield writer
        except BaseException:
            with suppress(OSError):
                writer.close()
            raise
        finish(writer)


def finish(writer: SummaryWriter) -> None:
    """Write what is left and close.

    Raises:
        OSError: what the writer's thread met; closing alone would not say so.
    """
    try:
        writer.flush()
    finally:
        writer.close()


@contextmanager
def quiet_writers() -> Iterator[None]:
    """Let threads of TensorBoard end without a trace in the block."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not type(failed.thread).__module__.startswith("tensorboard."):
            before(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before

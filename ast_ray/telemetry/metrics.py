"""Metrics as JSON lines, cut back to the checkpoint on resume so that no iteration stands twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, TypedDict

from ast_ray.errors import StoreError
from ast_ray.storage.atomic import write_text, writing
from ast_ray.storage.containers.documents import parsed, sealed_line, unsealed
from ast_ray.storage.containers.opening import parsing, require_file
from ast_ray.storage.folder import Folder
from ast_ray.storage.typed import Count, Share, checked

_HINT = "delete the file and go on without its curves"


class MetricRow(TypedDict):
    """One logged iteration; other numbers stand beside these. The loss is None where everything was skipped."""

    iteration: Count
    relative_loss: float | None
    student_lr: NotRequired[float]
    validation_accuracy: NotRequired[Share]
    validation_accuracies: NotRequired[list[Share]]


class _Row(TypedDict):
    iteration: Count


def read_metrics(path: Path) -> list[MetricRow]:
    """Return all rows, in order; a half-written last line, of a writer that was killed, is left out.

    Raises:
        StoreError: a damaged line, by number, or rows out of order.
    """
    if not path.exists() and not path.is_symlink():
        return []
    require_file(path, StoreError)
    *lines, last = path.read_bytes().split(b"\n")
    if last and not _unfinished(last):
        lines.append(last)
    rows: list[MetricRow] = []
    for number, line in enumerate(lines, 1):
        with parsing(path, StoreError, told=f"damaged in line {number}", hint=_HINT):
            row = checked(unsealed(parsed(line, strict=False)), MetricRow)
            if rows and row["iteration"] <= rows[-1]["iteration"]:
                raise ValueError(f"iteration {row['iteration']} after {rows[-1]['iteration']}")
            rows.append(row)
    return rows


def _unfinished(line: bytes) -> bool:
    """Tell whether a last line is the beginning of a row, which a killed writer leaves."""
    try:
        json.JSONDecoder().raw_decode(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return line.startswith(b"{")
    return False  # a whole row, or one with something behind it


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    """Rows up to one that cannot be read or is out of order."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    for line in path.read_bytes().splitlines():
        try:
            row = dict(checked(unsealed(parsed(line, strict=False)), _Row))
        except ValueError:
            break
        if rows and row["iteration"] <= rows[-1]["iteration"]:
            break
        rows.append(row)
    return rows


class MetricsLog:
    """An append-only file of rows that each carry ``iteration``."""

    def __init__(self, path: Path, *, after: int, every: int = 0) -> None:
        """Open the file, dropping rows later than iteration ``after``.

        ``lost`` says whether rows are missing before that, where at least every ``every``-th iteration has one.
        """
        self._folder = Folder(path.parent)
        self._folder.fetch(path)
        kept = [row for row in _whole_rows(path) if row["iteration"] <= after]
        self.lost = bool(every and after) and (not kept or kept[-1]["iteration"] <= after - every)
        write_text(path, "".join(map(sealed_line, kept)))
        self._path = path
        with writing(path):
            self._file = path.open("a", encoding="utf-8")

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row and flush it.

        Raises:
            ResourceError: the disk is full, or gone.
        """
        with writing(self._path):
            self._file.write(sealed_line(row))
            self._file.flush()

    def publish(self) -> None:
        """Let others see what is written so far."""
        self._folder.publish(self._path)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with suppress(OSError):  # of what could not be written the block has told
                self._file.close()
            return
        with writing(self._path):
            self._file.close()
        self.publish()

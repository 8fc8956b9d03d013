"""Metrics as JSON lines, cut back to the checkpoint on resume so that no iteration stands twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ast_ray.store import mirror
from ast_ray.store.atomic import write_text


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines up to one that cannot be read, such as a half-written last one."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_bytes().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


class MetricsLog:
    """An append-only file of rows that each carry ``iteration``."""

    def __init__(self, path: Path, *, after: int) -> None:
        """Open the file, dropping rows later than iteration ``after``."""
        mirror.fetch(path)
        kept = [row for row in read_metrics(path) if row["iteration"] <= after]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row and flush it."""
        self._file.write(json.dumps(dict(row)) + "\n")
        self._file.flush()

    def publish(self) -> None:
        """Upload what is written so far, where the file stands for an address."""
        mirror.publish(self._path)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is None:
            self.publish()

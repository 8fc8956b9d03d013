"""``config.yaml``: the settings of a run or a search, as a file that may have been touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ast_ray.config import loading
from ast_ray.config.loading import from_dict
from ast_ray.config.settings import Config
from ast_ray.errors import ConfigError, StoreError
from ast_ray.storage import mirror

_HINT = "move it away or choose another folder"


def read_values(path: Path) -> dict[str, Any]:
    """Return the nested values, of whatever version.

    Raises:
        StoreError: missing, or not settings.
    """
    try:
        return loading.read_settings(path)
    except ConfigError as error:
        raise StoreError(f"{mirror.shown(path)}: cannot be read ({error.problems[0].reason}); {_HINT}") from error


def read_settings(path: Path) -> Config:
    """Return the settings.

    Raises:
        StoreError: missing, not settings, or settings that cannot be, all by name.
    """
    try:
        return from_dict(read_values(path))
    except ConfigError as error:
        listed = "\n  ".join(str(problem) for problem in error.problems)
        raise StoreError(f"{mirror.shown(path)}: holds settings that cannot be; {_HINT}:\n  {listed}") from error

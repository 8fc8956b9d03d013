"""``manifest.json``: the data's identity, the commands given and what they ran on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from ast_ray.errors import StoreError
from ast_ray.store.containers.documents import read_document
from ast_ray.store.typed import Bounds

Side = Annotated[int, Bounds(1, 2**16)]


class Environment(TypedDict):
    """The machine and the versions of what computed."""

    versions: NotRequired[dict[str, Any]]


class Command(TypedDict):
    """A command as it was typed."""

    command: list[str]
    time: NotRequired[str]
    environment: NotRequired[Environment]


class Manifest(TypedDict):
    """Commands, and of a run the images' identity, class names and shape (C, H, W)."""

    commands: list[Command]
    data_id: NotRequired[str]
    classes: NotRequired[list[str]]
    image_shape: NotRequired[list[Side]]


NO_COMMANDS: Manifest = {"commands": []}


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest, or None where there is none.

    Raises:
        StoreError: damaged.
    """
    return read_document(path, Manifest, hint="delete it and the same command makes a new one")


def earlier_commands(path: Path) -> list[Command]:
    """Return the commands recorded so far; none of a damaged manifest, which is written anew."""
    try:
        found = read_manifest(path)
    except StoreError:
        return []
    return found["commands"] if found else []

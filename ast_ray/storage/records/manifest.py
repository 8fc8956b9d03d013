"""``manifest.json``: the data's identity, the commands given and what they ran on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from ast_ray.errors import StoreError
from ast_ray.storage.containers.documents import read_document
from ast_ray.storage.typed import Bounds

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
    """Commands, and of a run the images' identity, class names and shape (C, H, W), and earlier settings."""

    commands: list[Command]
    data_id: NotRequired[str]
    classes: NotRequired[list[str]]
    image_shape: NotRequired[list[Side]]
    earlier: NotRequired[list[dict[str, Any]]]


NO_COMMANDS: Manifest = {"commands": []}


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest, or None where there is none.

    Raises:
        StoreError: damaged.
    """
    return read_document(path, Manifest, hint="delete it and the same command makes a new one")


def whole_manifest(path: Path) -> Manifest:
    """Return the manifest; a damaged one counts as absent, since the next command writes it anew."""
    try:
        return read_manifest(path) or NO_COMMANDS
    except StoreError:
        return NO_COMMANDS

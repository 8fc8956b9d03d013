"""``features.json``: features of real, starting and distilled images on two axes, for the report (Fig. 10)."""

from __future__ import annotations

from pathlib import Path
from typing import NotRequired, TypedDict

from ast_ray.errors import StoreError
from ast_ray.storage.containers.documents import read_document
from ast_ray.storage.typed import Number, Share


class ClassFeatures(TypedDict):
    """One class: share of variance of both axes, and points [n, 2] of each kind of image."""

    name: str
    explained: list[Share]
    points: dict[str, list[list[Number]]]


class Features(TypedDict):
    """The classes shown, the method looked through, and what the features belong to."""

    token: str
    distilled: bool
    method: str
    classes: list[ClassFeatures]
    cloud: NotRequired[int]


def read_features(path: Path) -> Features | None:
    """Return the features, or None where there are none.

    Raises:
        StoreError: damaged.
    """
    hint = "delete it and the report computes it again"
    found = read_document(path, Features, hint=hint)
    for item in found["classes"] if found else ():
        if len(item["explained"]) != 2 or any(len(point) != 2 for kind in item["points"].values() for point in kind):
            raise StoreError(f"{path}: damaged (points of class {item['name']!r} are not on two axes); {hint}")
    return found


def whole_features(path: Path) -> Features | None:
    """Return the features; damaged ones count as absent, since they are computed again."""
    try:
        return read_features(path)
    except StoreError:
        return None

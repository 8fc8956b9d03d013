"""Reasons for a choice of settings, in words for the head of a run."""

from __future__ import annotations

from ast_ray.config.datasets import DatasetFacts
from ast_ray.config.presets.automatic import SMALL_IMAGES, similar_cells
from ast_ray.config.presets.published import published_presets
from ast_ray.config.settings import Config
from ast_ray.errors import counted


def reason(facts: DatasetFacts, config: Config) -> str:
    """Say why `automatic` chose ``config`` for a dataset of these facts.

    >>> from ast_ray.config.presets.automatic import automatic
    >>> photos = DatasetFacts("photos", 3, 3, 64, 50, 12)
    >>> reason(photos, automatic(photos, 1))
    'automatic: 64 px, 3 classes, 50 training images: the small-set preset'
    """
    ipc = f"{counted(config.distill.ipc, 'image')} per class"
    if facts.name == "digits":
        return "automatic: the demo preset of this dataset"
    seen = f"{facts.image_size} px, {facts.classes} classes, {facts.train:,} training images"
    if facts.train <= SMALL_IMAGES:
        return f"automatic: {seen}: the small-set preset"
    if config.preset in published_presets():
        return f"automatic: the published cell of {facts.name} with {ipc}"
    if facts.cells:
        return f"automatic: no published cell of {facts.name} has {ipc}, so the nearest one's settings"
    return f"automatic: {seen}: settings of the most similar published dataset, {similar_cells(facts)}"


def reason_for_name(config: Config) -> str:
    """Say what a preset named by hand is."""
    return "named, a published cell" if config.preset in published_presets() else "named"

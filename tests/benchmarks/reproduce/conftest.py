"""A base of seconds, and where a test's command works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reproduce import scales
from benchmarks.reproduce.driving import Place
from benchmarks.reproduce.studies import DIGITS

TINY: dict[str, object] = {
    "data.train_size": 100,
    "network.width": 4,
    "network.depth": 1,
    "expert.count": 2,
    "expert.epochs": 6,
    "distill.iterations": 6,
    "distill.syn_steps": 3,
    "distill.max_start_epoch": 2,
}
TINY_COMMON: dict[str, object] = {
    "distill.validate_every": 0,
    "distill.validate_networks": 1,
    "distill.checkpoint_every": 2,
    "evaluate.networks": 2,
    "evaluate.passes": 4,
    "evaluate.lr_decay_pass": 2,
    "evaluate.full_epochs": 1,
}


@pytest.fixture
def tiny_base(monkeypatch: pytest.MonkeyPatch) -> str:
    """The digits base at a size of seconds."""
    monkeypatch.setitem(scales._CPU, DIGITS, ("digits", TINY))
    monkeypatch.setattr(scales, "_CPU_COMMON", TINY_COMMON)
    return DIGITS


@pytest.fixture
def place(root: Path, tmp_path: Path) -> Callable[..., Place]:
    """A place under the test's folder; ``name`` tells two apart."""

    def make(name: str = "one") -> Place:
        folder = tmp_path / name
        return Place({}, str(root), folder / "work", folder / "cells.jsonl", device="cpu", commit="abc")

    return make


def row(variant: str, seed: int, accuracy: float, **other: Any) -> dict[str, Any]:
    """A row of the results file, as small as one may be."""
    return {
        "study": "methods",
        "scale": "cpu",
        "base": "cifar10-small",
        "variant": variant,
        "seed": seed,
        "recipe": "r1",
        "cell": f"{variant}{seed}",
        "accuracy": {"convnet": {"strict": [accuracy]}},
        "diverged": None,
        "commit": "abc",
        "when": "2026-01-01T00:00:00+00:00",
        "hardware": {"processor": "some processor", "cpus": 2, "gpu": None},
        "versions": {"torch": "2", "ray": "2"},
        **other,
    }

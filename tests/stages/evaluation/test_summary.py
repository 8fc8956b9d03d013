from __future__ import annotations

from typing import Any

import pytest

from ast_ray.stages.evaluation.summary import summarize


def row(name: str, seed: int, accuracy: float, **other: Any) -> dict[str, Any]:
    return {
        "set": name,
        "network": "convnet",
        "protocol": "strict",
        "seed": seed,
        "accuracy": accuracy,
        "images": 10,
    } | (other)


def test_mean_and_sample_deviation_by_hand() -> None:
    (found,) = summarize([row("ast", 0, 0.5), row("ast", 1, 0.7), row("ast", 2, 0.9)])
    assert found["mean"] == pytest.approx(0.7)
    assert found["std"] == pytest.approx(0.2)  # sqrt((0.04 + 0 + 0.04) / 2)
    assert found["n"] == 3


def test_groups_keep_the_order_of_their_first_row_and_seeds_are_sorted() -> None:
    rows = [row("b", 1, 0.1), row("a", 0, 0.2), row("b", 0, 0.3), row("b", 0, 0.4, network="resnet")]
    found = summarize(rows)
    assert [(group["set"], group["network"]) for group in found] == [
        ("b", "convnet"),
        ("a", "convnet"),
        ("b", "resnet"),
    ]
    assert found[0]["seeds"] == [0, 1]
    assert found[0]["accuracies"] == [0.3, 0.1]


def test_steps_and_training_accuracies_are_kept_where_every_row_has_them() -> None:
    new = {"steps": 16, "train_accuracy": 0.5, "train_accuracy_before": 0.25}
    (found,) = summarize([row("full", 0, 0.5, **new), row("full", 1, 0.5, **{**new, "train_accuracy": 0.75})])
    assert (found["steps"], found["train_accuracy"], found["train_accuracy_before"]) == (16, 0.625, 0.25)
    (mixed,) = summarize([row("full", 0, 0.5, **new), row("full", 1, 0.5)])
    assert not {"steps", "train_accuracy", "train_accuracy_before"} & mixed.keys()
    (distilled,) = summarize([row("ast", 0, 0.5, steps=5, train_accuracy=None, train_accuracy_before=None)])
    assert "train_accuracy" not in distilled


def test_one_network_has_no_deviation() -> None:
    assert summarize([row("a", 0, 0.5)])[0]["std"] is None


def test_nothing() -> None:
    assert summarize([]) == []

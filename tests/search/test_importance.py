from __future__ import annotations

import numpy as np

from ast_ray.search.importance import encode, importance, spans_decade


def rows(count: int = 40) -> list[dict[str, object]]:
    """The objective follows ``kind`` strongly, ``rate`` a little, ``noise`` not at all."""
    generator = np.random.default_rng(0)
    found = []
    for number in range(count):
        kind = ("a", "b", "c")[number % 3]
        rate = float(10 ** generator.uniform(-3, 0))
        noise = float(generator.uniform())
        value = {"a": 0.2, "b": 0.5, "c": 0.8}[kind] + 0.03 * np.log10(rate)
        found.append({"kind": kind, "rate": rate, "noise": noise, "same": 1, "objective": value})
    return found


def test_importance_ranks_what_matters() -> None:
    found = importance(rows(), ["noise", "rate", "kind", "same"], "objective", seed=0)
    assert found[0].name == "kind"
    by_name = {item.name: item.mean for item in found}
    assert "same" not in by_name
    assert by_name["kind"] > 10 * by_name["noise"]
    assert by_name["rate"] > by_name["noise"]


def test_the_same_trials_give_the_same_importance() -> None:
    one, other = (importance(rows(), ["kind", "rate"], "objective", seed=3) for _ in range(2))
    assert one == other


def test_too_few_trials_say_nothing() -> None:
    assert importance(rows(4), ["kind"], "objective", seed=0) == []
    flat = [{**row, "objective": 0.5} for row in rows()]
    assert importance(flat, ["kind"], "objective", seed=0) == []


def test_numbers_over_decades_are_logarithms_and_names_are_one_hot() -> None:
    assert encode([0.01, 0.1, 1.0]).ravel().tolist() == [-2.0, -1.0, 0.0]
    assert encode([1, 2, 4]).ravel().tolist() == [1.0, 2.0, 4.0]
    assert encode(["x", "y", "x"]).tolist() == [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    assert encode([True, False]).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert not spans_decade([0.0, 10.0])

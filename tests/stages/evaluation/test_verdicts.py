from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest

from ast_ray.config import Config
from ast_ray.stages.evaluation.verdicts import Verdict, run_verdicts, small_splits, verdicts

STARTS = {"ast": "representative", "mtt": "random"}
HIGH, MIDDLE, LOW = (0.60, 0.62, 0.64), (0.52, 0.54, 0.56), (0.40, 0.42, 0.44)


def group(name: str, *accuracies: float, **other: Any) -> dict[str, Any]:
    mean = statistics.fmean(accuracies)
    about = {"network": "convnet", "protocol": "strict", "images": 10}
    return {"set": name, "accuracies": list(accuracies), "mean": mean, "n": len(accuracies), **about, **other}


def judged(*rows: dict[str, Any], test_images: int = 500, network: str = "convnet") -> list[Verdict]:
    return verdicts(rows, STARTS, network=network, test_images=test_images)


def texts(*rows: dict[str, Any], **other: Any) -> list[str]:
    return [verdict.text for verdict in judged(*rows, **other)]


def test_a_method_above_its_start_and_random_images_with_the_interval_by_hand() -> None:
    """Both samples have a variance of 4 points^2: half width 2.776 sqrt(2 * 4 / 3) = 4.534 points."""
    start, random = judged(group("random", *LOW), group("representative", *MIDDLE), group("ast", *HIGH))
    assert start.text == "AST beats its own start (representative real images) by 8.0 [3.5, 12.5] points (n = 3)"
    assert (start.kind, start.method, start.against, start.outcome) == ("start", "ast", "representative", "better")
    assert start.difference == pytest.approx(0.08)
    assert start.low == pytest.approx(0.08 - 0.04534, abs=1e-5)
    assert start.high == pytest.approx(0.08 + 0.04534, abs=1e-5)
    assert (start.n, start.network, start.protocol) == ((3, 3), "convnet", "strict")
    assert random.text == "AST beats random real images by 20.0 [15.5, 24.5] points (n = 3)"
    assert (random.kind, random.against) == ("random", "random")


def test_a_method_below_its_start_is_told_that_distilling_made_it_worse() -> None:
    (found,) = judged(group("representative", *HIGH), group("ast", *MIDDLE))
    assert found.outcome == "worse"
    assert found.difference == pytest.approx(-0.08)
    assert found.text == (
        "AST is below its own start (representative real images) by 8.0 [3.5, 12.5] points (n = 3): "
        "distillation made it worse; ast-ray tune searches for settings that do not"
    )


def test_an_interval_that_holds_zero_decides_nothing() -> None:
    _, found = judged(group("representative", *LOW), group("random", 0.52, 0.56), group("ast", 0.53, 0.56, 0.55))
    assert found.outcome == "unclear"
    assert found.text.startswith("AST is not shown to beat random real images (+0.7 [-")
    start, _ = judged(group("representative", *MIDDLE), group("random", *LOW), group("ast", 0.53, 0.56, 0.55))
    assert start.text.startswith("AST is not shown to beat its own start, representative real images (+0.7 [-")
    assert found.text.endswith("] points, n = 3 and 2)")


def test_one_network_tells_nothing() -> None:
    (found,) = judged(group("random", 0.5), group("mtt", 0.9))
    assert (found.kind, found.outcome, found.low, found.high, found.n) == ("start", "unknown", None, None, (1, 1))
    assert found.text == (
        "MTT against its own start (random real images): +40.0 points, but nothing can be told with n = 1; "
        "more networks (evaluate.networks) give an interval"
    )


def test_the_best_coreset_is_named_and_nothing_is_said_twice() -> None:
    rows = [group("herding", *MIDDLE), group("representative", *LOW), group("k-centre", *LOW), group("ast", *HIGH)]
    start, coreset = judged(*rows)
    assert (start.kind, start.against) == ("start", "representative")
    assert (coreset.kind, coreset.against) == ("coreset", "herding")
    assert coreset.text == "AST beats the best of 3 coresets (herding real images) by 8.0 [3.5, 12.5] points (n = 3)"
    assert texts(group("forgetting", *MIDDLE), group("ast", *HIGH)) == [
        "AST beats most forgotten real images by 8.0 [3.5, 12.5] points (n = 3)"
    ]
    mtt = judged(group("random", *LOW), group("representative", *LOW), group("mtt", *HIGH))
    assert [(verdict.kind, verdict.against) for verdict in mtt] == [("start", "random"), ("coreset", "representative")]


def test_a_start_that_is_no_real_image_is_compared_with_nothing() -> None:
    found = verdicts([group("random", *LOW), group("ast", *HIGH)], {"ast": ""}, network="convnet", test_images=500)
    assert [verdict.kind for verdict in found] == ["random"]


def test_a_test_split_too_small_for_the_difference_decides_nothing() -> None:
    rows = [group("random", *LOW), group("ast", *HIGH)]
    (found,) = judged(*rows, test_images=12)
    assert found.outcome == "unclear"
    assert found.text == (
        "AST is not shown to beat random real images (+20.0 [15.5, 24.5] points, n = 3): "
        "a test split of 12 images cannot tell differences below about 29 points"
    )
    assert judged(*rows, test_images=30)[0].outcome == "better"  # 20 points are more than 18.3
    assert judged(*rows, test_images=24)[0].outcome == "unclear"  # and less than 20.4


def test_rows_of_the_runs_own_network_and_protocol_are_compared() -> None:
    rows = [
        group("random", *HIGH, network="vgg11"),
        group("ast", *LOW, network="vgg11"),
        group("random", *HIGH, protocol="peak"),
        group("random", *LOW),
        group("ast", *HIGH),
    ]
    (found,) = judged(*rows)
    assert (found.network, found.protocol, found.outcome) == ("convnet", "strict", "better")
    (other,) = judged(*rows, network="mlp")
    assert (other.network, other.outcome) == ("vgg11", "worse")
    assert judged(group("random", *LOW, protocol="peak"), group("ast", *HIGH, protocol="peak")) == []
    assert judged() == []


def test_a_group_without_accuracies_is_left_out() -> None:
    failed = {**group("mtt", 0.5), "accuracies": [], "mean": None}
    assert [verdict.method for verdict in judged(failed, group("random", *LOW), group("ast", *HIGH))] == ["ast"]


def test_full_data_that_still_rises() -> None:
    full = group("full", *HIGH, steps=20, train_accuracy=0.66, train_accuracy_before=0.61)
    (found,) = judged(full)
    assert (found.kind, found.method, found.n) == ("training", "full", (3,))
    assert found.difference == pytest.approx(0.05)
    assert found.text == (
        "full data row is undertrained: its training accuracy still rose, from 61.0 to 66.0 %, at the end of its 20 "
        "steps; raise evaluate.full_steps"
    )
    assert judged({**full, "train_accuracy_before": 0.65}) == []
    assert judged(group("full", *HIGH)) == []  # made before training accuracy was recorded


def test_full_data_below_a_distilled_set_is_no_ceiling() -> None:
    methods = [group("mtt", *MIDDLE), group("ast", *HIGH)]
    (found,) = judged(*methods, group("full", *LOW, steps=20))
    assert (found.kind, found.method, found.against, found.outcome) == ("full", "full", "ast", "worse")
    assert found.text == (
        "full data row is undertrained: it is below AST by 20.0 [15.5, 24.5] points (n = 3) after 20 steps; "
        "it is no ceiling for this table, and HLR says nothing; raise evaluate.full_steps"
    )
    (close,) = judged(*methods, group("full", 0.60, 0.62, 0.63))
    assert close.outcome == "unclear"
    assert close.text.startswith("full data is not above AST (-0.3 [-")
    assert judged(*methods, group("full", 0.9, 0.9, 0.9)) == []


def test_a_run_takes_starts_from_its_methods(tiny: Callable[..., Config]) -> None:
    rows = [group("random", *LOW), group("representative", *LOW), group("mtt", *HIGH), group("ast", *HIGH)]
    found = run_verdicts(rows, tiny(), 500)
    assert [(item["method"], item["against"]) for item in found if item["kind"] == "start"] == [
        ("ast", "representative"),
        ("mtt", "random"),
    ]
    noise = run_verdicts(rows, tiny(distill__init="noise", run__methods="ast"), 500)
    assert [item["kind"] for item in noise if item["method"] == "ast"] == ["random", "coreset"]


def test_splits_too_small_to_tell_anything() -> None:
    assert small_splits(100, 100) == []
    assert small_splits(5, 12) == [
        "validation split of 5 images: one image is 20.0 points; differences below about 45 points cannot be told; "
        "the published iteration is chosen by it",
        "test split of 12 images: one image is 8.3 points; differences below about 29 points cannot be told",
    ]
    assert [line.split()[0] for line in small_splits(99, 100)] == ["validation"]
    assert small_splits(1, 100)[0].startswith("validation split of 1 image: one image is 100.0 points;")


def test_a_comparison_with_networks_trained_on_soft_labels_says_so() -> None:
    rows = [group("random", *LOW), group("representative", *MIDDLE)]
    hard = texts(*rows, group("ast", *HIGH, targets="hard"))
    assert hard == texts(*rows, group("ast", *HIGH))
    soft = texts(*rows, group("ast", *HIGH, targets="soft"))
    assert soft == [f"{text}; networks of AST are trained on soft labels" for text in hard]

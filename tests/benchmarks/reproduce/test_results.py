"""The results file, the statistics, and the page they make."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from types import ModuleType

import pytest
from scipy import stats

from ast_ray.config.presets import paper_accuracy
from ast_ray.errors import StoreError
from benchmarks.reproduce import packing, statistics
from benchmarks.reproduce.rendering import _component_verdict, page
from benchmarks.reproduce.results import RESULTS, ROOT, append_row, group, read_rows
from benchmarks.reproduce.statistics import Difference, paired, summary
from benchmarks.reproduce.studies import METHODS, STUDIES
from benchmarks.reproduce.tables import Block, Comparison, published
from tests.benchmarks.reproduce.conftest import row

CLEAR = [row("MTT", seed, 0.2 + 0.001 * seed) for seed in range(5)]
BETTER = [row("AST", seed, 0.25 + 0.002 * seed) for seed in range(5)]
WORSE = [row("random", seed, 0.1 + 0.001 * seed) for seed in range(5)]
SAME = [row("herding", seed, 0.2 + 0.01 * (seed % 2) - 0.004) for seed in range(5)]


def test_the_page_is_what_the_results_file_says() -> None:
    assert (ROOT / "docs/results.md").read_text("utf-8") == page(read_rows(RESULTS))


@pytest.mark.parametrize("module", [statistics, packing])
def test_examples_are_true(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.failed == 0 < result.attempted


def test_the_papers_figures_are_those_of_the_presets() -> None:
    compared = 0
    for name in ("methods", "imagenet"):
        for cell, figures in published()["studies"][name].items():
            for method, preset in (("AST", cell), ("MTT", f"mtt-{cell}")):
                mean, deviation = paper_accuracy(preset) or (0, 0)
                assert figures[method] == f"{mean} ± {deviation}"
                compared += 1
    assert compared == 32


def test_every_figure_of_the_paper_has_its_row() -> None:
    for name, cells in published()["studies"].items():
        assert set(cells) <= {base for bases in STUDIES[name].bases.values() for base in bases}
        for figures in cells.values():
            assert set(figures) <= {variant.name for variant in STUDIES[name].variants}


def test_rows_are_appended_once(tmp_path: Path) -> None:
    path = tmp_path / "results" / "cells.jsonl"
    append_row(path, CLEAR[0])
    append_row(path, {**CLEAR[0], "when": "later"})
    append_row(path, CLEAR[1])
    assert read_rows(path) == CLEAR[:2]


@pytest.mark.parametrize(
    ("line", "said"), [("{broken", "line 2: not a row"), ('{"study": "a"}', "line 2: lacks scale")]
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "cells.jsonl"
    path.write_text(json.dumps(CLEAR[0]) + "\n" + line + "\n")
    with pytest.raises(StoreError, match=said):
        read_rows(path)


def test_seeds_of_two_recipes_are_not_averaged() -> None:
    old = [row("MTT", seed, 0.9, recipe="r0") for seed in range(5)]
    found = group([*old, *CLEAR[:2]], "methods", "cpu", "cifar10-small", "MTT")
    assert found is not None
    assert found.accuracies() == pytest.approx({0: 20.0, 1: 20.1})


def test_intervals_are_those_of_the_paired_t_test() -> None:
    ours, theirs = [3.0, 4.5, 2.0, 6.0, 5.0], [2.5, 4.0, 2.5, 4.0, 4.0]
    gap = paired(dict(enumerate(ours)), dict(enumerate(theirs)))
    assert gap is not None
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (gap.low, gap.high) == pytest.approx((interval.low, interval.high))
    assert gap.sign == 0
    assert paired({0: 1.0}, {1: 1.0}) is None
    single = paired({0: 2.0}, {0: 1.0})
    assert single is not None
    assert (single.sign, single.text()) == (0, "+1.0 (one pair)")
    assert summary([2.0]).text() == "2.0"


def test_verdicts_follow_the_intervals() -> None:
    found = Block.of([*CLEAR, *BETTER, *WORSE, *SAME], METHODS, "cpu", "cifar10-small").comparisons()
    verdicts = {name: item.verdict for name, item in found.items()}
    assert verdicts == {"AST": "better than MTT", "random": "worse than MTT", "herding": "no difference shown"}


@pytest.mark.parametrize(
    ("out", "into", "said"),
    [
        ((-0.5, -0.9), (-0.1, 0.3), "helps"),
        ((-0.3, 0.4), (-0.2, -0.05), "not shown to help"),
        ((0.3, 0.9), (-0.1, 0.3), "hurts"),
        ((-0.5, -0.9), (-0.9, -0.5), "helps in one place, hurts in another"),
    ],
)
def test_a_negligible_difference_is_no_verdict(out: tuple[float, float], into: tuple[float, float], said: str) -> None:
    found = [
        Comparison("ablation", "cifar10-small", "a", "b", Difference(sum(ends) / 2, min(ends), max(ends), 5))
        for ends in (out, into)
    ]
    assert _component_verdict(*found, None) == said


def test_only_common_seeds_are_compared() -> None:
    found = Block.of([*CLEAR[:3], *BETTER[1:]], METHODS, "cpu", "cifar10-small").comparisons()
    assert found["AST"].difference.n == 2


def test_a_diverged_seed_is_counted_not_averaged() -> None:
    lost = {**row("AST", 9, 0.0), "accuracy": {}, "diverged": "alpha would become -1"}
    text = page([*CLEAR, *BETTER, lost])
    line = next(line for line in text.splitlines() if line.startswith("| AST |"))
    assert "25.4 ± 0.3" in line
    assert "6, 1 diverged" in line


def test_the_page_says_what_was_measured_and_where() -> None:
    text = page([*CLEAR, *BETTER, *WORSE, *SAME])
    assert "| 14.4 ± 2.0 |" in text  # the paper's, beside ours
    assert "better than MTT" in text
    assert "some processor, 2 cores" in text
    assert "python -m benchmarks.reproduce run methods --scale cpu --seeds 5" in text
    assert "No cell of this scale has been run" in text  # the paper's scale


def test_a_page_without_rows_says_so() -> None:
    assert page([]).count("No cell of this scale has been run") == 2

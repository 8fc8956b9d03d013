"""The page: what its rows say, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.odd_datasets.__main__ import main, parser
from benchmarks.odd_datasets.rendering import PAGE, difference, page
from benchmarks.odd_datasets.results import RESULTS, read_rows


def row(
    name: str, verdict: str = "above", *, code: int | None = 0, message: str = "", **means: float
) -> dict[str, Any]:
    """A row with two networks a set, half a point to either side of the mean."""
    accuracy = {
        key: {"mean": mean, "std": 0.007, "n": 2, "seeds": [0, 1], "accuracies": [mean - 0.005, mean + 0.005]}
        for key, mean in means.items()
    }
    return {
        "set": name,
        "digest": "d",
        "classes": 3,
        "images": 62,
        "size": "56x58 to 79x77",
        "container": "JPG",
        "threads": 1,
        "exit_code": code,
        "seconds": 61.6,
        "accuracy": accuracy,
        "verdict": verdict,
        "message": message,
        "package": "p",
        "commit": "abc",
        "when": "2026-01-01T00:00:00+00:00",
        "hardware": {"processor": "some processor", "cpus": 2, "gpu": None},
        "versions": {"torch": "2", "ray": "2"},
    }


def line(text: str, name: str) -> str:
    (found,) = [item for item in text.splitlines() if item.startswith(f"| `{name}`: ")]
    return found


def test_the_page_is_what_the_results_file_says() -> None:
    assert PAGE.read_text("utf-8") == page(read_rows(RESULTS))


def test_a_row_becomes_a_line() -> None:
    text = page([row("photos", random=0.5, ast=0.625, full=0.9), row("palette", random=0.5, ast=0.45)])
    found = line(text, "photos")
    assert "62 of 3 classes, 56x58 to 79x77, JPG" in found
    assert "| 50.0 ± 0.7 (n = 2) |  |  | 62.5 ± 0.7 (n = 2) | 90.0 ± 0.7 (n = 2) |" in found
    assert found.endswith("| 62 | above |")
    busy = {**row("photos", random=0.5, ast=0.625), "shared": True}
    assert line(page([busy]), "photos").endswith("|  | above |")
    assert "With `--train-size 2000`" in line(page([row("clothes-npz")]), "clothes-npz")
    assert text.index("`photos`") < text.index("## Odd sets") < text.index("`palette`")
    assert "some processor, 2 cores, 1 threads a run" in text


def test_the_difference_is_paired_by_network() -> None:
    one = row("photos", random=0.5, ast=0.6)
    one["accuracy"]["ast"]["accuracies"] = [0.6, 0.64]
    one["accuracy"]["random"]["accuracies"] = [0.5, 0.52]
    found = difference(one)
    assert found is not None
    assert (found.mean, found.n) == (pytest.approx(11.0), 2)
    assert difference(row("photos", random=0.5)) is None


def test_ends_are_counted_and_reasons_shown() -> None:
    rows = [
        row("palette", random=0.5, ast=0.6),
        row("imbalanced", "below", random=0.5, ast=0.4),
        row("single-class", "refused", code=1, message="single-class: a single class,\n'disc'"),
        row("label-noise", "failed", code=None, message="stopped at the time limit of 60 s"),
    ]
    text = page(rows)
    assert (
        "Of 4 sets 1 ended above random real images, 1 ended not above them, 1 were refused before the work, 1 fai"
        in text
    )
    assert "Not as they should: imbalanced, label-noise. Not measured: digits-folder," in text
    assert "| **below** |" in line(text, "imbalanced")
    assert "| refused (exit code 1) |" in line(text, "single-class")
    assert "| `single-class` | refused | 62 | `single-class: a single class, 'disc'` |" in text
    assert "| **failed** |" in line(text, "label-noise")


@pytest.mark.parametrize(
    ("name", "verdict", "shown"),
    [
        ("palette", "above", "above"),
        ("palette", "refused", "**refused**"),
        ("single-class", "refused", "refused"),
        ("single-class", "above", "**above**"),
        ("normalised-floats", "above", "above"),
        ("normalised-floats", "refused", "refused"),
        ("normalised-floats", "failed", "**failed**"),
    ],
)
def test_what_should_not_be_is_bold(name: str, verdict: str, shown: str) -> None:
    text = page([row(name, verdict)])
    assert line(text, name).endswith(f"| {shown} |")
    assert ("All ended as they should." in text) == ("*" not in shown)


def test_the_newest_row_counts_and_unknown_sets_are_left_out() -> None:
    text = page([row("palette", random=0.5, ast=0.1), row("palette", random=0.5, ast=0.7), row("gone", ast=0.3)])
    assert "70.0" in line(text, "palette")
    assert "gone" not in text


def test_a_page_without_rows_says_so() -> None:
    assert "No set has been measured yet." in page([])


def test_commands_on_the_page_parse() -> None:
    lines = [item for item in page([]).splitlines() if item.startswith("python -m benchmarks.odd_datasets ")]
    assert len(lines) == 4
    for item in lines:
        assert parser().parse_args(item.partition("#")[0].split()[3:]).command


def test_the_check_compares(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--check"]) == 0
    assert "is what the results file says" in capsys.readouterr().out

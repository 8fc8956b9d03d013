from __future__ import annotations

from pathlib import Path

from PIL import Image

from ast_ray.search.importance import Importance
from ast_ray.search.plots import plot_convergence, plot_importance, plot_parallel

ROWS = [
    {
        "status": status,
        "objective": accuracy,
        "rung_iterations": [2, 4][: number + 1],
        "rung_accuracies": [0.1, accuracy][: number + 1],
        "distill.rho": 10.0**-number,
        "distill.beta_strategy": kind,
        "expert.clip_start": None if number else 0.5,
    }
    for number, (status, accuracy, kind) in enumerate(
        [("finished", 0.7, "equal"), ("stopped", 0.4, "final"), ("diverged", 0.0, "equal")]
    )
]
NAMES = ["distill.rho", "distill.beta_strategy", "expert.clip_start"]


def colours(path: Path) -> int:
    with Image.open(path) as image:
        assert image.format == "PNG"
        found = image.convert("RGB").getcolors(maxcolors=2**20)
    assert found is not None
    return len(found)


def test_plots_are_pictures_with_something_on_them(tmp_path: Path) -> None:
    plot_parallel(tmp_path / "parallel.png", ROWS, NAMES, "validation_accuracy")
    plot_convergence(tmp_path / "convergence.png", ROWS, "validation_accuracy")
    plot_importance(tmp_path / "importance.png", [Importance("distill.rho", 0.5, 0.1)], 3)
    assert all(colours(tmp_path / f"{name}.png") > 20 for name in ("parallel", "convergence", "importance"))


def test_nothing_to_plot_is_still_a_picture(tmp_path: Path) -> None:
    plot_importance(tmp_path / "importance.png", [], 2)
    plot_parallel(tmp_path / "parallel.png", ROWS[2:], NAMES, "validation_accuracy")
    plot_convergence(tmp_path / "convergence.png", [], "validation_accuracy")
    assert len(list(tmp_path.glob("*.png"))) == 3

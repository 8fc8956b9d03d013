"""Plots of a search as files: importance, parallel coordinates, convergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ast_ray.search.importance import Importance, spans_decade
from ast_ray.storage.atomic import atomic_path

_MAP = "viridis"


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def plot_importance(path: Path, found: Sequence[Importance], trials: int) -> None:
    """Horizontal bars with the spread over shuffles; a sentence when there is nothing to say."""
    figure = Figure(figsize=(7, 1.2 + 0.4 * max(3, len(found))), layout="constrained")
    axes = figure.subplots()
    if not found:
        axes.axis("off")
        axes.text(0.5, 0.5, f"too few trials that differ ({trials}) to tell", ha="center")
    else:
        shown = list(reversed(found))
        axes.barh([item.name for item in shown], [item.mean for item in shown], xerr=[item.std for item in shown])
        axes.set_xlabel(f"rise of squared error when shuffled, relative to the variance (n = {trials})")
        axes.set_title("importance of each hyperparameter")
    _save(figure, path)


def plot_convergence(path: Path, rows: Sequence[Mapping[str, Any]], objective: str) -> None:
    """Left: every trial's accuracy over its iterations; right: the best so far over the trials."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    curves, best = figure.subplots(1, 2)
    for row in rows:
        done = row["status"] == "finished"
        curves.plot(
            row["rung_iterations"],
            [100 * value for value in row["rung_accuracies"]],
            color="C0" if done else "0.6",
            marker="o",
            markersize=3,
            linewidth=1.2 if done else 0.8,
        )
    curves.set_xlabel("distillation iteration")
    curves.set_ylabel("validation accuracy %")
    curves.set_title("trials (grey: stopped early or broken)")
    values = [100 * row["objective"] for row in rows]
    best.plot(values, "o", color="0.6", label="trial")
    if values:
        best.step(range(len(values)), np.maximum.accumulate(values), where="post", color="C0", label="best so far")
    best.set_xlabel("trial, in order of beginning")
    best.set_ylabel(f"{objective} %")
    best.set_title("convergence")
    best.legend(loc="lower right")
    _save(figure, path)


def plot_parallel(path: Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str], objective: str) -> None:
    """A line per trial through its hyperparameters to its accuracy, coloured by the accuracy."""
    figure = Figure(figsize=(max(7, 1.9 * (len(names) + 1)), 5), layout="constrained")
    axes = figure.subplots()
    usable = [row for row in rows if row["status"] in ("finished", "stopped")]
    accuracies = [100 * row["objective"] for row in usable]
    scales = [_Axis([row[name] for row in usable]) for name in names] + [_Axis(accuracies)]
    norm = Normalize(min(accuracies, default=0), max(accuracies, default=1))
    colours = ScalarMappable(norm, _MAP)
    for row, accuracy in sorted(zip(usable, accuracies, strict=True), key=lambda pair: pair[1]):
        heights = [scale.height(row[name]) for scale, name in zip(scales, names, strict=False)]
        heights.append(scales[-1].height(accuracy))
        axes.plot(range(len(heights)), heights, color=colours.to_rgba(accuracy), linewidth=1.2, alpha=0.8)
    for place, scale in enumerate(scales):
        axes.axvline(place, color="0.3", linewidth=0.8)
        for height, text in scale.ticks():
            axes.annotate(text, (place, height), xytext=(3, 2), textcoords="offset points", fontsize=7)
    axes.set_xticks(range(len(scales)), [*(name.replace(".", "\n", 1) for name in names), f"{objective} %"], fontsize=8)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(scales) - 0.5)
    figure.colorbar(colours, ax=axes, label="validation accuracy %")
    _save(figure, path)


class _Axis:
    """One vertical axis: numbers on a line (logarithmic over decades), anything else as evenly spaced names."""

    def __init__(self, values: Sequence[object]) -> None:
        kinds = {str(value): value for value in values if value is not None}
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in kinds.values())
        self._names = [] if numeric else sorted(kinds)
        self._log = numeric and spans_decade(list(kinds.values()))
        numbers = [self._scaled(value) for value in kinds.values()] if numeric else []
        self._low, self._high = min(numbers, default=0.0), max(numbers, default=1.0)

    def _scaled(self, value: Any) -> float:
        return float(np.log10(value)) if self._log else float(value)

    def height(self, value: object) -> float:
        """Return a value's position between 0 and 1; nan for none."""
        if value is None:
            return float("nan")
        if self._names:
            return self._names.index(str(value)) / max(1, len(self._names) - 1)
        spread = self._high - self._low
        return (self._scaled(value) - self._low) / spread if spread else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Heights and labels."""
        if self._names:
            return [(self.height(name), name) for name in self._names]
        places = np.linspace(self._low, self._high, 4) if self._high > self._low else [self._low]
        return [
            (self.height(10**place if self._log else place), f"{10**place if self._log else place:.3g}")
            for place in places
        ]

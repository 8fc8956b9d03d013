"""The charts of a run: matching, alpha, validation, experts (Fig. 9), features (Fig. 10)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ast_ray.config.methods import METHODS
from ast_ray.report.records import MethodRecord, RunRecord
from ast_ray.report.svg import Axis, Series, chart
from ast_ray.storage.records.features import Features

WINDOW = 9


@dataclass(frozen=True)
class Figure:
    """A chart with its heading and what to look for."""

    title: str
    drawing: Markup
    caption: str


def colour(name: str, place: int) -> int:
    """The same method has the same colour everywhere."""
    return METHODS[name].color if name in METHODS else place % 5


def running_mean(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """Centred mean over ``window`` values, fewer at the ends.

    >>> running_mean([1.0, 2.0, 6.0], 3)
    [1.5, 3.0, 4.0]
    """
    half = window // 2
    return [statistics.fmean(values[max(0, place - half) : place + half + 1]) for place in range(len(values))]


def _thin(points: Sequence[tuple[float, float]], most: int = 500) -> list[tuple[float, float]]:
    """Every so-many-th point and the last, so that a long run does not swell the page."""
    stride = -(-len(points) // most) if points else 1
    return [point for place, point in enumerate(points) if place % stride == 0 or place == len(points) - 1]


def _told(series: Sequence[Series], y: Axis) -> str:
    """First and last value of every named series, for readers who cannot see the chart."""
    parts = []
    for one in series:
        if one.points and not one.faint:
            (x0, y0), (x1, y1) = one.points[0], one.points[-1]
            parts.append(f"{one.name}: {y.text(y0)} at {x0:g}, {y.text(y1)} at {x1:g}")
    return "; ".join(parts)


def distillation_figures(run: RunRecord, key: str) -> list[Figure]:
    """Matching loss, alpha and validation accuracy by iteration, every method in each chart."""
    methods = [method for method in run.methods if method.metrics]
    if not methods:
        return []
    x = Axis("outer iteration")
    loss = []
    alpha = []
    accuracy = []
    for place, method in enumerate(methods):
        number, rows = colour(method.name, place), method.metrics
        raw = [(row["iteration"], row["relative_loss"]) for row in rows if row["relative_loss"] is not None]
        smooth = running_mean([value for _, value in raw])
        loss.append(Series(method.title, number, _thin(raw), faint=True))
        strong = [(at, mean) for (at, _), mean in zip(raw, smooth, strict=True)]
        loss.append(Series(method.title, number, _thin(strong)))
        rates = [(row["iteration"], row["student_lr"]) for row in rows if "student_lr" in row]
        if rates:
            alpha.append(Series(method.title, number, _thin(rates)))
        accuracy.append(_validation(method, number))
    share = Axis("validation accuracy, %", percent=True)
    ratio, rate = Axis("relative matching loss", low=0.0), Axis("alpha", low=0.0)
    validated = [one for one in accuracy if one.points]
    figures = [
        Figure(
            "Matching loss",
            chart(f"{key}-loss", "Relative matching loss by iteration", _told(loss, ratio), loss, x, ratio),
            "Squared distance left to the expert, relative to the start (Eq. 22): 1 means that the student covered "
            f"nothing. Strong line: mean over {WINDOW} logged iterations; faint: as logged.",
        )
    ]
    if alpha:
        figures.append(
            Figure(
                "Student learning rate",
                chart(f"{key}-alpha", "Learned step size alpha by iteration", _told(alpha, rate), alpha, x, rate),
                "The learned step size alpha, published with the set. It should settle.",
            )
        )
    if validated:
        title = "Validation accuracy by iteration"
        figures.append(
            Figure(
                "Validation accuracy",
                chart(f"{key}-validation", title, _told(validated, share), validated, x, share),
                "Mean of fresh networks on held-out training images, one sample standard deviation shaded. The best "
                "iteration is published; the test split plays no part in that choice.",
            )
        )
    return figures


def _validation(method: MethodRecord, number: int) -> Series:
    points, band = [], []
    for row in method.metrics:
        if "validation_accuracy" in row:
            mean, all_of_them = row["validation_accuracy"], row.get("validation_accuracies", [])
            points.append((row["iteration"], mean))
            if len(all_of_them) > 1:
                spread = statistics.stdev(all_of_them)
                band.append((row["iteration"], mean - spread, mean + spread))
    return Series(method.title, number, points, band, marked=True)


def expert_figures(run: RunRecord, key: str) -> list[Figure]:
    """Accuracy and move by epoch, and accuracy against Avg_Var so far (Fig. 9), mean and spread over experts."""
    methods = [method for method in run.methods if method.experts]
    if not methods:
        return []
    accuracy = []
    moves = []
    path = []
    for place, method in enumerate(methods):
        number, name = colour(method.name, place), f"{method.title}'s experts"
        accuracy.append(_over_experts(name, number, [curve["validation_accuracy"] for curve in method.experts], 0))
        moved = _over_experts(name, number, [curve["move"] for curve in method.experts], 1)
        moves.append(moved)
        path.append(Series(name, number, _path(accuracy[-1], moved), marked=True))
    epoch, share = Axis("epoch"), Axis("validation accuracy, %", percent=True)
    move, so_far = Axis("squared move", log=True), Axis("Avg_Var so far", log=True)
    experts = ", ".join(f"{len(method.experts)} for {method.title}" for method in methods)
    return [
        Figure(
            "Expert accuracy",
            chart(f"{key}-accuracy", "Expert accuracy by epoch", _told(accuracy, share), accuracy, epoch, share),
            f"Mean over experts ({experts}), one sample standard deviation shaded.",
        ),
        Figure(
            "How far the weights move",
            chart(f"{key}-move", "Squared move of the weights by epoch", _told(moves, move), moves, epoch, move),
            "Squared distance between one epoch's weights and the last's. Spikes are jumps a student cannot make.",
        ),
        Figure(
            "Good and smooth",
            chart(f"{key}-path", "Expert accuracy against Avg_Var", _told(path, share), path, so_far, share),
            "Accuracy against the mean squared move so far, a mark per epoch (the paper's Fig. 9). Up is "
            "better, left is smoother.",
        ),
    ]


def _over_experts(name: str, number: int, curves: Sequence[Sequence[float | None]], first: int) -> Series:
    points, band = [], []
    for epoch in range(first, min(len(curve) for curve in curves)):
        values = [value for curve in curves if (value := curve[epoch]) is not None and math.isfinite(value)]
        if not values:
            continue
        mean = statistics.fmean(values)
        points.append((float(epoch), mean))
        if len(values) > 1:
            spread = statistics.stdev(values)
            band.append((float(epoch), mean - spread, mean + spread))
    return Series(name, number, points, band)


def _path(accuracy: Series, moved: Series) -> list[tuple[float, float]]:
    """Points (mean move up to an epoch, accuracy at it)."""
    at = dict(accuracy.points)
    total, points = 0.0, []
    for count, (epoch, move) in enumerate(moved.points, 1):
        total += move
        if epoch in at:
            points.append((total / count, at[epoch]))
    return points


_KINDS = (("real", "real images", 2), ("random", "random start", 4), ("representative", "representative start", 1))


def feature_figures(features: Features | None, key: str) -> list[Figure]:
    """Features of single classes on their two principal axes (Fig. 10)."""
    figures = []
    for place, item in enumerate(features["classes"] if features else ()):
        first, second = item["explained"]
        series = [
            Series(
                text,
                number,
                [(x, y) for x, y in item["points"][kind]],
                line=False,
                marked=True,
                faint=kind == "real",
                size=3 if kind == "real" else 5.5,
            )
            for kind, text, number in (*_KINDS, ("distilled", "distilled", 0))
            if kind in item["points"]
        ]
        along, up = Axis(f"first axis ({first:.0%} of variance)"), Axis(f"second axis ({second:.0%})")
        counts = ", ".join(f"{len(one.points)} {one.name}" for one in series)
        drawing = chart(f"{key}-features-{place}", f"Features of class {item['name']}", counts, series, along, up)
        figures.append(Figure(f"Class {item['name']}", drawing, f"{counts}."))
    return figures

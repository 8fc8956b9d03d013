"""Verdicts on a run in plain sentences: the comparisons that its rows decide, and those that they leave open.

Each method is compared with its own kind of start, with random real images, and with the best of the coresets that were
evaluated: Welch's 95 % interval of the difference, since the networks of two sets are independent. The full-data row
is the table's ceiling, so it is examined too. The interval is that of other networks on this very test split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ast_ray.config.methods import METHODS
from ast_ray.config.presets import method_config
from ast_ray.config.settings import Config
from ast_ray.config.titles import set_title
from ast_ray.core.statistics import Difference, welch
from ast_ray.errors import counted

Kind = Literal["start", "random", "coreset", "full", "training"]
Outcome = Literal["better", "worse", "unclear", "unknown"]
CORESETS = ("representative", "herding", "k-centre", "forgetting")
STARTS = {"representative": "representative", "random-real": "random", "noise": ""}
SMALL_SPLIT = 100
"""Images below which an accuracy's standard error may exceed 5 points."""
RISING = 0.02
"""Training accuracy gained from one eighth of the training to the next, from which it still rises clearly."""


@dataclass(frozen=True)
class Verdict:
    """One comparison: ``difference`` (of ``method`` minus ``against``) and its interval are accuracies in [-1, 1].

    ``low`` and ``high`` are None where a set has one network. ``outcome`` is that of ``method``: ``unclear`` where the
    interval holds 0 or the test split is too small for the difference, ``unknown`` without an interval. Kind
    ``training`` compares the full-data row's training accuracy with an earlier one of the same training.
    """

    kind: Kind
    method: str
    against: str
    network: str
    protocol: str
    outcome: Outcome
    difference: float | None
    low: float | None
    high: float | None
    n: tuple[int, ...]
    text: str


Row = Mapping[str, Any]


def run_verdicts(rows: Sequence[Row], config: Config, test_images: int) -> list[dict[str, Any]]:
    """Return the verdicts on a run's table, as ``results.json`` holds them."""
    starts: dict[str, str] = {name: STARTS[method_config(config, name).distill.init] for name in config.run.methods}
    found = verdicts(rows, starts, network=config.network.name, test_images=test_images)
    return [{**asdict(verdict), "n": list(verdict.n)} for verdict in found]


def verdicts(
    rows: Sequence[Row], starts: Mapping[str, str], *, network: str, test_images: int = SMALL_SPLIT
) -> list[Verdict]:
    """Compare every method of a table with its start, random images and coresets; examine the full-data row.

    Rows of one network and one protocol are compared: the run's own ``network`` and ``strict`` where there are such.

    Args:
        rows: groups as `stages.evaluation.summary.summarize` returns them; groups without accuracies are left out.
        starts: set that a method's own start is one of, by method; empty where real images have no such set.
        test_images: size of the test split.
    """
    found = _scope(rows, network)
    judge = _Judge(found, test_images)
    verdicts = [verdict for method in _methods(found) for verdict in judge.method(method, starts)]
    return [*verdicts, *judge.full(_methods(found))]


def _methods(found: Mapping[str, Row]) -> list[str]:
    """Return the methods among the sets of a table, AST first."""
    return [method for method in METHODS if method in found]


def resolution(images: int) -> float:
    """Return the accuracy difference that a split can tell: two standard errors of an accuracy of one half.

    >>> round(resolution(100), 3), round(resolution(12), 3)
    (0.1, 0.289)
    """
    return float(1 / images**0.5)


def small_splits(validation: int, test: int) -> list[str]:
    """Return a sentence for each split, given its images, that is too small for its accuracy to mean much."""
    uses = {"validation": "; the published iteration is chosen by it", "test": ""}
    return [
        f"{name} split of {counted(images, 'image')}: one image is {100 / images:.1f} points; "
        f"differences below about {100 * resolution(images):.0f} points cannot be told{uses[name]}"
        for name, images in (("validation", validation), ("test", test))
        if images < SMALL_SPLIT
    ]


def _scope(rows: Sequence[Row], network: str) -> dict[str, Row]:
    """The groups to compare, by set; a best pass on the test set (``peak``) is compared with nothing."""
    usable = [row for row in rows if row.get("accuracies") and row["protocol"] != "peak"]
    for name, value in (("network", network), ("protocol", "strict")):
        wanted = [row for row in usable if row[name] == value]
        usable = wanted or [row for row in usable if row[name] == usable[0][name]]
    return {row["set"]: row for row in usable}


@dataclass(frozen=True)
class _Judge:
    """The groups of a table by set, and the size of the test split."""

    rows: Mapping[str, Row]
    test_images: int

    def method(self, method: str, starts: Mapping[str, str]) -> list[Verdict]:
        start, found = starts.get(method, ""), []
        coresets = [name for name in CORESETS if name in self.rows]
        if start in self.rows:
            found.append(self.compare("start", method, start, "its own start"))
        if start != "random" and "random" in self.rows:
            found.append(self.compare("random", method, "random"))
        if coresets and coresets != [start]:
            best = max(coresets, key=lambda name: float(self.rows[name]["mean"]))
            role = f"the best of {len(coresets)} coresets" if len(coresets) > 1 else ""
            found.append(self.compare("coreset", method, best, role))
        return found

    def full(self, methods: Sequence[str]) -> list[Verdict]:
        """A ceiling that is none: training accuracy still rising, or a distilled set above it."""
        row, found = self.rows.get("full"), []
        if row is None:
            return []
        before, last = row.get("train_accuracy_before"), row.get("train_accuracy")
        if before is not None and last is not None and last - before > RISING:
            text = (
                f"full data row is undertrained: its training accuracy still rose, from {100 * before:.1f} to "
                f"{100 * last:.1f} %, at the end of its {counted(row['steps'], 'step')}; raise evaluate.full_steps"
            )
            gap = Difference(last - before, None, None)
            found.append(self.verdict("training", ("full", "full"), "better", gap, text))
        best = max(methods, key=lambda name: float(self.rows[name]["mean"]), default=None)
        if best is not None and self.rows[best]["mean"] > row["mean"]:
            found.append(self.below(best, row))
        return found

    def below(self, method: str, row: Row) -> Verdict:
        gap = welch(row["accuracies"], self.rows[method]["accuracies"])
        steps = f" after {counted(row['steps'], 'step')}" if row.get("steps") else ""
        ceiling = "it is no ceiling for this table, and HLR says nothing; raise evaluate.full_steps"
        told = _by(gap, self.sizes("full", method))
        if self.outcome(gap) == "worse":
            text = f"full data row is undertrained: it is below {set_title(method)} by {told}{steps}; {ceiling}"
        else:
            text = f"full data is not above {set_title(method)} ({_signed(gap, self.sizes('full', method))}){steps}: "
            text += ceiling
        return self.verdict("full", ("full", method), self.outcome(gap), gap, text)

    def compare(self, kind: Kind, method: str, against: str, role: str = "") -> Verdict:
        """Compare a method with one set of real images; ``role`` says which set that is, beside its title."""
        name = f"{role} ({set_title(against)})" if role else set_title(against)
        gap = welch(self.rows[method]["accuracies"], self.rows[against]["accuracies"])
        sizes = self.sizes(method, against)
        outcome = self.outcome(gap)
        title = set_title(method)
        if outcome == "better":
            text = f"{title} beats {name} by {_by(gap, sizes)}"
        elif outcome == "worse":
            text = f"{title} is below {name} by {_by(gap, sizes)}"
        elif outcome == "unknown":
            text = f"{title} against {name}: {100 * gap.mean:+.1f} points, but nothing can be told with {sizes}; "
            text += "more networks (evaluate.networks) give an interval"
        else:
            listed = f"{role}, {set_title(against)}" if role else name
            text = f"{title} is not shown to beat {listed} ({_signed(gap, sizes)})"
            if gap.sign:
                text += f": a test split of {counted(self.test_images, 'image')} cannot tell differences below about "
                text += f"{100 * resolution(self.test_images):.0f} points"
        if kind == "start" and outcome == "worse":
            text += ": distillation made it worse; ast-ray tune searches for settings that do not"
        return self.verdict(kind, (method, against), outcome, gap, text)

    def outcome(self, gap: Difference) -> Outcome:
        if gap.low is None:
            return "unknown"
        coarse = self.test_images < SMALL_SPLIT and abs(gap.mean) < resolution(self.test_images)
        if coarse or not gap.sign:
            return "unclear"
        return "better" if gap.sign > 0 else "worse"

    def sizes(self, one: str, other: str) -> str:
        ours, theirs = (self.rows[name]["n"] for name in (one, other))
        return f"n = {ours}" if ours == theirs else f"n = {ours} and {theirs}"

    def verdict(self, kind: Kind, sets: tuple[str, str], outcome: Outcome, gap: Difference, text: str) -> Verdict:
        ours, theirs = (self.rows[name] for name in sets)
        n = (ours["n"],) if ours is theirs else (ours["n"], theirs["n"])
        where = (ours["network"], ours["protocol"])
        soft = [set_title(name) for name in dict.fromkeys(sets) if self.rows[name].get("targets") == "soft"]
        text += f"; networks of {' and '.join(soft)} are trained on soft labels" if soft else ""
        return Verdict(kind, *sets, *where, outcome, gap.mean, gap.low, gap.high, n, text)


def _by(gap: Difference, sizes: str) -> str:
    """The size of a difference: ``8.1 [5.0, 11.2] points (n = 5)``."""
    if gap.low is None or gap.high is None:
        return f"{100 * abs(gap.mean):.1f} points ({sizes})"
    low, high = sorted((abs(100 * gap.low), abs(100 * gap.high)))
    return f"{100 * abs(gap.mean):.1f} [{low:.1f}, {high:.1f}] points ({sizes})"


def _signed(gap: Difference, sizes: str) -> str:
    """A difference of either sign: ``+0.5 [-2.0, 3.0] points, n = 2``."""
    interval = "" if gap.low is None or gap.high is None else f" [{100 * gap.low:.1f}, {100 * gap.high:.1f}]"
    return f"{100 * gap.mean:+.1f}{interval} points, {sizes}"

"""One iteration of any distillation method: draw, differentiate, average, update, advance.

An iteration is one update of the synthetic set, for every method. Who computes which unit is the caller's choice
(`Units`) and does not change the result. Nothing here loops over iterations, writes files or logs: that is
`stages.distillation.loop`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ast_ray.core.methods.base import IMAGES, STUDENT_LR, TARGETS, Draw, Gradients, Problem, Report, State
from ast_ray.errors import DivergenceError

SKIPS_IN_A_ROW = 10
"""Iterations in a row without a usable unit that stop a distillation."""

Units = Callable[[Problem, State, Sequence[Draw]], Sequence[Gradients]]
"""Computes the gradients of every draw, in the order of the draws."""


def one_after_another(problem: Problem, state: State, draws: Sequence[Draw]) -> list[Gradients]:
    """Compute every unit here."""
    return [problem.gradients(state, draw) for draw in draws]


def average(results: Sequence[Gradients]) -> Gradients:
    """The mean over units, added up in their order, so that the bytes do not depend on who computed which."""
    count, first = len(results), results[0]
    loss = first.loss
    learned = dict(first.learned)
    parts = list(first.parts)
    for result in results[1:]:
        loss = loss + result.loss
        learned = {name: total + result.learned[name] for name, total in learned.items()}
        parts = [one + other for one, other in zip(parts, result.parts, strict=True)]
    return Gradients(
        loss / count,
        {name: total / count for name, total in learned.items()},
        tuple(part / count for part in parts),
    )


def iterate(problem: Problem, state: State, map_units: Units = one_after_another) -> tuple[State, Report]:
    """Run one iteration: draw the units, differentiate them, average, update, advance.

    A unit whose loss or gradient is not finite, or whose gradient is far beyond its running scale, is not used. An
    iteration without a usable unit leaves what is learned as it is.

    Raises:
        DivergenceError: ``SKIPS_IN_A_ROW`` iterations without a usable unit, or an update that is not finite or would
            make alpha negative; the given state is still good.
    """
    draws = [problem.draw(state, place) for place in range(problem.units)]
    try:
        results = map_units(problem, state, draws)
    except DivergenceError as error:
        raise _placed(error, draws[0].iteration) from None
    reasons = [_unusable(problem, state, result) for result in results]
    usable = [result for result, reason in zip(results, reasons, strict=True) if not reason]
    mean = average(usable or results)
    skipped = [reason for reason in reasons if reason]
    report = replace(
        problem.report(state, draws, mean),
        skipped=state.skipped + len(skipped),
        unusable=skipped[0] if skipped else "",
    )
    counts = {"iteration": report.iteration, "skipped": report.skipped}
    if usable:
        try:
            tensors = problem.outer.update(state, usable, mean)
        except DivergenceError as error:
            raise problem.divergence(report, str(error), "; ".join(error.__notes__)) from None
        after = state.changed(tensors, **counts, skipped_in_a_row=0, updates=state.updates + 1)
    else:
        after = _skip(problem, state, results, report, draws[0]).changed({}, **counts)
    try:
        return problem.advance(after, draws), report
    except DivergenceError as error:
        raise _placed(error, report.iteration) from None


def _placed(error: DivergenceError, iteration: int) -> DivergenceError:
    """Return an error of a method's own networks or solves with its iteration, its notes being the advice."""
    advice = "; ".join(getattr(error, "__notes__", []))
    text = f"distillation stopped at iteration {iteration}: {error}" + (f"; {advice}" if advice else "")
    return DivergenceError(text, reason=str(error), advice=advice, iteration=iteration)


def _unusable(problem: Problem, state: State, result: Gradients) -> str:
    """Return why a unit is not used; empty when it is."""
    named = {IMAGES: "image gradient", STUDENT_LR: "alpha gradient", TARGETS: "label gradient"}
    values = [("matching loss", result.loss)]
    values += [
        (named.get(name, f"gradient of {name}"), torch.linalg.vector_norm(value) if value.dim() else value)
        for name, value in result.learned.items()
    ]
    for name, value in values:
        if not math.isfinite(float(value)):
            return f"{name} is {float(value)}"
    if problem.outer.is_outlier(state, result, problem.units):
        return "image gradient is far beyond its running scale"
    return ""


def _skip(problem: Problem, state: State, results: Sequence[Gradients], report: Report, draw: Draw) -> State:
    """Return the state after an iteration without an update.

    Raises:
        DivergenceError: too many in a row.
    """
    in_a_row = state.numbers["skipped_in_a_row"] + 1
    if in_a_row >= SKIPS_IN_A_ROW:
        cause = f"{report.unusable}, {in_a_row} iterations in a row without an update"
        raise problem.divergence(report, cause, problem.skip_advice, draw)
    for result in results:
        if bool(torch.isfinite(result.learned[IMAGES]).all()):
            state = state.changed(problem.outer.absorb(state, result))
    return state.changed({}, skipped_in_a_row=in_a_row)

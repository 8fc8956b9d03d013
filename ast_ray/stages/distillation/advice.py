"""Messages about matching: the probe's forecast, a loss near or above 1 explained, and which settings to change."""

from __future__ import annotations

import math

from ast_ray.config.settings import DistillConfig
from ast_ray.core.methods.base import Report
from ast_ray.core.methods.coverage import Coverage
from ast_ray.errors import counted

NOTHING_COVERED, RUNS_AWAY = 0.95, 1.05
"""Mean relative losses from which the student covers nothing, and above which it ends farther away than it began."""
_NO_WAY = 0.995  # best loss of a probe from which no alpha brings the student nearer to the expert
_DROWNED = 0.5  # share of the squared distance that is the perturbation, from which rho is named as the cause
_OUT_OF_REACH = 20.0  # factor between the present and the suggested alpha from which alpha is named as the cause


def describe_coverage(coverage: Coverage, config: DistillConfig) -> str:
    """Return one line on what to expect before the first iteration, with what to change if it is hopeless."""
    how = "" if config.student_lr else " (chosen)"
    line = (
        f"in {counted(config.expert_epochs, 'epoch')} an expert's weights move by {coverage.distance:.3g}; the path of "
        f"{counted(config.syn_steps, 'student step')} at learning rate {coverage.student_lr:.3g}{how} is "
        f"{_length(coverage.reach)}, and with the starting images {_covered(coverage.loss)}"
    )
    if coverage.perturbed > _DROWNED or coverage.best_loss >= _NO_WAY:
        return f"{line}. This is unlikely to work: {_advise_distance(coverage)}"
    ratio = coverage.student_lr / coverage.suggested_lr
    if config.student_lr and not 1 / _OUT_OF_REACH < ratio < _OUT_OF_REACH:
        return f"{line}; {_advise_alpha(coverage.student_lr, coverage, config)}"
    return line


def describe_loss(mean: float, count: int, student_lr: float, coverage: Coverage, config: DistillConfig) -> str | None:
    """Return what a mean relative loss over ``count`` iterations means and what to change; None when it is fine."""
    if mean < NOTHING_COVERED:
        return None
    over = (
        f"the matching loss is {mean:.2f} on average over {counted(count, 'iteration')}, at a student learning rate of "
        f"{student_lr:.3g}"
    )
    if mean <= RUNS_AWAY:
        too_small = student_lr * _OUT_OF_REACH < coverage.suggested_lr
        advice = _advise_alpha(student_lr, coverage, config) if too_small else _advise_distance(coverage)
        return f"{over}: it stays near 1, so the student hardly comes nearer to the expert; {advice}"
    advice = f"lower distill.student_lr (to {_lower(student_lr, coverage)}, say) or distill.syn_steps"
    if coverage.perturbed > _DROWNED:
        advice = _advise_distance(coverage)
    away = "it is above 1, so the student ends farther from the expert than it began"
    return f"{over}: {away}; {advice}, and {_advise_pixels(config)}"


def describe_skip(report: Report) -> str | None:
    """Return a line about what was not used, at the first one and at every tenfold of it; else None."""
    if report.skipped != 10 ** round(math.log10(report.skipped)):
        return None
    return (
        f"iteration {report.iteration}: {report.describe_unit()} was left out ({report.unusable}); "
        f"{counted(report.skipped, report.unit)} left out so far"
    )


def _length(reach: float) -> str:
    """Return the length of the student's path, with the expert's distance as the unit."""
    if 0.95 <= reach < 1.05:
        return "as long as that"
    shown = f"{reach:.2g}" if reach < 100 else f"{reach:.0f}"
    return {"0.5": "half as long", "2": "twice as long"}.get(shown, f"{shown} times as long")


def _covered(loss: float) -> str:
    """Return how much nearer to the expert the student comes."""
    if loss == math.inf:
        return "the student's weights overflow"
    if loss >= 1:
        return f"it ends no nearer to the expert (relative matching loss {loss:.3g}; 1 = no nearer)"
    share = 100 * (1 - loss)
    return f"it reduces the squared distance to the expert by {f'{share:.0f}' if share >= 1 else 'less than 1'} %"


def _advise_alpha(student_lr: float, coverage: Coverage, config: DistillConfig) -> str:
    """Return what to change where the student's learning rate is the cause."""
    if student_lr > coverage.suggested_lr:
        number = _lower(student_lr, coverage)
        return f"distill.student_lr is too large: set it to about {number}, or to 0 to have it chosen"
    if config.student_lr:
        return "distill.student_lr is too small: set it to 0 to have it chosen"
    rate = "step_lr" if config.outer == "normalized" else "lr_lr"
    return f"the learning rate has fallen from {coverage.student_lr:.3g}, where it began: lower distill.{rate}"


def _lower(student_lr: float, coverage: Coverage) -> str:
    """Return a smaller learning rate than the present one: the probe's, or else half of the present."""
    smaller = coverage.suggested_lr < student_lr
    return f"{coverage.suggested_lr if smaller else student_lr / 2:.2g}"


def _advise_distance(coverage: Coverage) -> str:
    """Return what to change where alpha is not the cause."""
    if coverage.perturbed > _DROWNED:
        share = f"{100 * coverage.perturbed:.0f} %"
        return f"the weight perturbation alone is {share} of the squared distance to the expert; lower distill.rho"
    return "raise distill.syn_steps, lower distill.expert_epochs or expert.lr, or train smoother experts"


def _advise_pixels(config: DistillConfig) -> str:
    if config.outer == "sgd":
        return "lower distill.lr_img and distill.lr_lr, or set distill.outer to normalized, which needs neither"
    return "lower distill.step_img"

"""Plain words about matching: what the probe expects, what a loss near or above 1 means, what to change."""

from __future__ import annotations

import math

from ast_ray.config.settings import DistillConfig
from ast_ray.core.coverage import Coverage
from ast_ray.core.distillation import IterationReport

NOTHING_COVERED, RUNS_AWAY = 0.95, 1.05
"""Mean relative losses from which the student covers nothing, and above which it ends farther away than it began."""
_NO_WAY = 0.995  # best loss of a probe from which no alpha brings the student nearer to the expert
_DROWNED = 0.5  # share of the squared distance that is the perturbation, from which rho is named as the cause
_OUT_OF_REACH = 20.0  # factor between the student's walk and the expert's way from which alpha is named as the cause


def describe_coverage(coverage: Coverage, config: DistillConfig) -> str:
    """Return one line on what to expect before the first iteration, with what to change if it is hopeless."""
    how = "" if config.student_lr else " (chosen)"
    line = (
        f"the experts move {coverage.distance:.3g} in {config.expert_epochs} epochs; {config.syn_steps} student steps "
        f"at alpha {coverage.student_lr:.3g}{how} walk {coverage.reach:.2g} times as far, and with the images as they "
        f"start they cover {_share(coverage.loss)} of the squared way"
    )
    if coverage.perturbed > _DROWNED or coverage.best_loss >= _NO_WAY:
        return f"{line}. This can hardly work: {_advise_distance(coverage)}"
    ratio = coverage.student_lr / coverage.suggested_lr
    if config.student_lr and not 1 / _OUT_OF_REACH < ratio < _OUT_OF_REACH:
        return f"{line}; {_advise_alpha(coverage)}"
    return line


def describe_loss(mean: float, count: int, student_lr: float, coverage: Coverage, config: DistillConfig) -> str | None:
    """Return what a mean relative loss over ``count`` iterations means and what to change; None when it is fine."""
    if mean < NOTHING_COVERED:
        return None
    over = f"mean matching loss {mean:.2f} over {count} iterations, alpha {student_lr:.3g}"
    if mean <= RUNS_AWAY:
        out_of_reach = student_lr * _OUT_OF_REACH < coverage.suggested_lr
        advice = _advise_alpha(coverage) if out_of_reach else _advise_distance(coverage)
        return f"{over}: near 1, so the student covers almost none of the expert's way; {advice}"
    advice = f"lower distill.student_lr (suggested: {coverage.suggested_lr:.2g}) or distill.syn_steps"
    if coverage.perturbed > _DROWNED:
        advice = _advise_distance(coverage)
    away = "above 1, so the student runs past the expert and ends farther away than it began"
    return f"{over}: {away}; {advice}, {_advise_pixels(config)}"


def describe_skip(report: IterationReport) -> str | None:
    """Return a line about segments that were not used, at the first one and at every tenfold of it; else None."""
    if report.skipped != 10 ** round(math.log10(report.skipped)):
        return None
    return (
        f"iteration {report.iteration}: a segment of expert {report.expert_id} was not used ({report.unusable}); "
        f"{report.skipped} so far"
    )


def _share(loss: float) -> str:
    """Return the covered share in per cent, or that there is none."""
    if loss == math.inf:
        return "nothing (the student's weights overflow)"
    return f"{100 * (1 - loss):.0f} %" if loss < 1 else f"nothing (loss {loss:.3g})"


def _advise_alpha(coverage: Coverage) -> str:
    return f"set distill.student_lr to about {coverage.suggested_lr:.2g}, or to 0 to have it chosen"


def _advise_distance(coverage: Coverage) -> str:
    """Return what to change where alpha is not the cause."""
    if coverage.perturbed > _DROWNED:
        share = f"{100 * coverage.perturbed:.0f} %"
        return f"the weight perturbation is {share} of the squared distance and drowns the match; lower distill.rho"
    return "raise distill.syn_steps, lower distill.expert_epochs or expert.lr, or train smoother experts"


def _advise_pixels(config: DistillConfig) -> str:
    if config.outer == "sgd":
        return "lower distill.lr_img and lr_lr, or use distill.outer = normalized, which needs no such rates"
    return "lower distill.step_img"

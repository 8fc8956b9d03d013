"""The page: everything inlined, every text from a file escaped, nothing fetched from anywhere."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2

from ast_ray.config import differences, to_dict
from ast_ray.config.methods import METHODS
from ast_ray.config.presets import PRESETS, preset
from ast_ray.config.titles import set_title, soft_notes
from ast_ray.errors import counted
from ast_ray.report import figures, tables
from ast_ray.report.frames import Frames, load_frames
from ast_ray.report.records import MethodRecord, RunRecord
from ast_ray.telemetry.failure import Failure

LIMIT = 5 * 2**20
MARK = b'<meta name="generator" content="ast-ray">'
_FOR_IMAGES = 4_600_000
_FOR_CHARTS = 250_000
_AT_LEAST = 400_000


def render(runs: Sequence[RunRecord], *, notes: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return the page of one or several runs as HTML.

    ``notes`` gives sentences to show with a run, by its path (what could not be computed, and why).
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ast_ray.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    distillations = sum(len(run.methods) for run in runs)
    budget = max(_AT_LEAST, _FOR_IMAGES - _FOR_CHARTS * len(runs)) // max(1, distillations)
    return environment.get_template("report.html").render(
        runs=[_run(run, place, budget, (notes or {}).get(str(run.path), ())) for place, run in enumerate(runs)],
        ablation=tables.ablation(runs) if len(runs) > 1 else None,
        paper=tables.paper(),
        style=_asset("report.css"),
        script=_asset("report.js"),
        title=", ".join(run.name for run in runs),
    )


def _asset(name: str) -> str:
    return files("ast_ray.report").joinpath("templates", name).read_text(encoding="utf-8")


def _run(run: RunRecord, place: int, budget: int, notes: Sequence[str]) -> dict[str, Any]:
    key = f"r{place}"
    return {
        "key": key,
        "name": run.name,
        "config": run.config,
        "finished": run.finished,
        "warnings": [outcome["warning"] for m in run.methods if (outcome := m.outcome) and outcome.get("warning")],
        "notes": list(notes),
        "failures": [_failure(failure) for failure in run.failed],
        "remedy": _remedy(run),
        "state": [_state(method) for method in run.methods if not _failed(run, method)],
        "galleries": [_gallery(run, method, f"{key}-{n}", budget) for n, method in enumerate(run.methods)],
        "results": tables.results(run.rows),
        "results_notes": soft_notes(run.rows),
        "verdicts": [str(verdict["text"]) for verdict in run.verdicts],
        "scores": tables.score_titles(run.rows),
        "paper_accuracy": tables.paper_accuracy(run),
        "distillation": figures.distillation_figures(run, key),
        "experts": figures.expert_figures(run, key),
        "features": figures.feature_figures(run.features, key),
        "features_through": _through(run),
        "architectures": tables.architectures(run) if run.rows else None,
        "settings": run.settings,
        "changed": _changed(run),
        "commands": [_command(entry) for entry in run.manifest.get("commands", [])],
        "environment": _environment(run),
    }


def _state(method: MethodRecord) -> str:
    total = method.config.distill.iterations
    if method.outcome:
        outcome = method.outcome
        alpha = f", alpha {outcome['student_lr']:.4g}" if _learns_lr(method.name) else ""
        return (
            f"{method.title}: {counted(outcome['iterations'], 'iteration')}; "
            f"published: iteration {outcome['best_iteration']}, "
            f"validation accuracy {tables.percent(outcome['validation_accuracy'])} %{alpha}"
        )
    why = f", {method.damage}" if method.damage else ""
    return f"{method.title}: iteration {method.iterations} of {total}, not finished{why}"


def _learns_lr(name: str) -> bool:
    """Return whether a method's alpha is worth telling; a method that is not known here may have learned it."""
    return name not in METHODS or METHODS[name].learns_lr


def _failed(run: RunRecord, method: MethodRecord) -> bool:
    return any(failure.set_name == method.name and failure.stage != "evaluation" for failure in run.failed)


def _remedy(run: RunRecord) -> str:
    """Return how to resume a run that is not finished."""
    if any(failure.lasting for failure in run.failed):
        return "what failed needs other settings, and everything finished is kept"
    return "the run's own command goes on with it"


def _failure(failure: Failure) -> dict[str, str]:
    """Return the failure for the summary and the results table."""
    title = set_title(failure.set_name)
    return {"title": title, "what": failure.what, "text": f"{title} {failure.what}", "advice": failure.advice}


def _gallery(run: RunRecord, method: MethodRecord, key: str, budget: int) -> dict[str, Any]:
    """Before, after and the frames between of one distillation."""
    shape = run.manifest.get("image_shape", [])
    published = method.outcome["best_iteration"] if method.outcome else None
    frames = None
    if len(shape) == 3:
        frames = load_frames(method.snapshots, shape, published=published, budget=budget)
    if frames is None:
        return {"key": key, "title": method.title, "frames": None}
    names = [str(name) for name in run.manifest.get("classes", [])]
    names += [str(number) for number in range(len(names), len(frames.tiles))]
    chosen = frames.iterations.index(published) if published in frames.iterations else len(frames.iterations) - 1
    captions = [_moment(number, frames, published) for number in frames.iterations]
    labels = [text if text.startswith("start") else f"iteration {text}" for text in captions]
    return {
        "key": key,
        "title": method.title,
        "frames": frames,
        "chosen": chosen,
        "labels": labels,
        "classes": list(zip(names, frames.tiles, strict=False)),
        "ipc": method.config.distill.ipc,
        "of_classes": len(names),
        "start": {"representative": "representative", "random-real": "random real", "noise": "noise"}[
            method.config.distill.init
        ],
        "captions": captions,
        "data": {"labels": labels, "captions": captions, "tiles": frames.tiles},
    }


def _moment(number: int, frames: Frames, published: int | None) -> str:
    text = "start" if number == 0 else str(number)
    if number == published:
        return f"{text}, published"
    return f"{text}, last" if number == frames.iterations[-1] else text


def _through(run: RunRecord) -> str:
    if not run.features:
        return ""
    title = next((method.title for method in run.methods if method.name == run.features["method"]), "")
    return f"expert 0 of {title} at its last epoch"


def _changed(run: RunRecord) -> list[str] | None:
    """Settings that differ from the preset's; None without a preset."""
    if run.config.preset not in PRESETS:
        return None
    mine, base = to_dict(run.config), to_dict(preset(run.config.preset))
    for values in (mine, base):
        values.pop("compute")
    return [text.replace(" here, ", " here; preset: ").removesuffix(" there") for text in differences(mine, base)]


def _command(entry: Mapping[str, Any]) -> dict[str, str]:
    return {"time": str(entry.get("time", "")), "line": shlex.join(map(str, entry.get("command", [])))}


def _environment(run: RunRecord) -> list[tuple[str, str]]:
    """Return the environment of the last command, as names and values."""
    commands = run.manifest.get("commands", [])
    found: dict[str, Any] = dict(commands[-1].get("environment", {})) if commands else {}
    versions = found.pop("versions", {})
    rows = [(name, "none" if value is None else str(value)) for name, value in found.items()]
    return [*rows, *[(name, str(value)) for name, value in versions.items()]]

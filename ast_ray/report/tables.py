"""The tables: results, other architectures beside the paper's, and runs side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from ast_ray.config import to_dict
from ast_ray.config.loading import flatten
from ast_ray.config.networks import NETWORKS
from ast_ray.config.titles import SCORES, row_title, score_text, set_title, soft_mark, soft_notes
from ast_ray.report.records import MethodRecord, RunRecord

PROTOCOLS = {"peak": "peak: best pass on the test set"}
BRIEF = 3  # settings named in the table's own lines; more go to a table of theirs alone
_NOT_COMPARED = ("preset", "compute.", "run.", "data.root", "data.download")


@cache
def paper() -> dict[str, Any]:
    """The paper's figures that a run can be put beside, with where they stand."""
    found: dict[str, Any] = json.loads(files("ast_ray.report").joinpath("paper.json").read_text(encoding="utf-8"))
    return found


def percent(mean: float | None, std: float | None = None) -> str:
    """Percent to one place, with the deviation when there is one.

    >>> percent(0.9144, 0.0123), percent(0.5), percent(None)
    ('91.4 ± 1.2', '50.0', '–')
    """
    if mean is None:
        return "–"
    return f"{100 * mean:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")


def network_title(name: str) -> str:
    """A network's name as papers print it."""
    base, dash, variant = name.partition("-")
    return (NETWORKS[base].title if base in NETWORKS else base) + dash + variant


def results(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line per row of the final table, with the bar's and the whisker's ends in percent."""
    lines, scores = [], score_titles(rows)
    for row in rows:
        mean, std = row["mean"], row["std"]
        low, high = max(0.0, mean - (std or 0)), min(1.0, mean + (std or 0))
        lines.append(
            {
                "set": row_title(row),
                "images": row.get("images", ""),
                "network": network_title(row["network"]),
                "protocol": PROTOCOLS.get(row["protocol"], row["protocol"]),
                "scores": [score_text(row.get(key), factor) or "–" for key, title, factor in SCORES if title in scores],
                "accuracy": percent(mean, std),
                "n": row["n"],
                "bar": {"mean": 100 * mean, "low": 100 * low, "high": 100 * high},
            }
        )
    return lines


def score_titles(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Titles of DD-Ranking's scores (arXiv 2505.13300) that any row carries."""
    return [title for key, title, _ in SCORES if any(row.get(key) is not None for row in rows)]


def architectures(run: RunRecord) -> dict[str, Any]:
    """Sets by networks, one block per protocol, and the paper's Table IV in the same columns."""
    table = paper()["architectures"]
    names = list(table["networks"]) + sorted({row["network"] for row in run.rows} - set(table["networks"]))
    lines = []
    for set_name, protocol in dict.fromkeys((row["set"], row["protocol"]) for row in run.rows):
        cells = {
            row["network"]: percent(row["mean"], row["std"]) + soft_mark(row)
            for row in run.rows
            if (row["set"], row["protocol"]) == (set_name, protocol)
        }
        title = set_title(set_name) + ("" if protocol == "strict" else f" ({protocol})")
        lines.append({"title": title, "cells": [cells.get(name, "–") for name in names]})
    cited = [
        {"title": title, "cells": [*cells, *["–"] * (len(names) - len(cells))]}
        for title, cells in table["rows"].items()
    ]
    same = run.config.data.source == "cifar10" and run.config.distill.ipc == 50
    return {
        "networks": [network_title(name) for name in names],
        "ours": lines,
        "paper": cited,
        "where": table["where"],
        "ours_where": f"{run.config.data.source}, {run.config.distill.ipc} per class",
        "comparable": same,
        "several": len({row["network"] for row in run.rows}) > 1,
        "notes": soft_notes(run.rows),
    }


def paper_accuracy(run: RunRecord) -> dict[str, Any] | None:
    """The paper's figures for the very dataset and number of images of the run; None when it has none."""
    table = paper()["accuracy"]
    cell = table["cells"].get(run.config.data.source, {}).get(str(run.config.distill.ipc))
    return None if cell is None else {"where": table["where"], "cells": cell}


def varied(runs: Sequence[RunRecord]) -> dict[str, list[object]]:
    """Settings in which the runs differ, with every run's value; where work ran is left out."""
    flat = [flatten(to_dict(run.config)) for run in runs]
    names = [name for name in flat[0] if not name.startswith(_NOT_COMPARED)]
    return {name: [one[name] for one in flat] for name in names if any(one[name] != flat[0][name] for one in flat[1:])}


def ablation(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """One line per run and method, and the settings in which the runs differ, a row each.

    ``difference`` is the test accuracy's distance to the same method of the first run, where the data are the same.
    """
    differing = varied(runs)
    first = {method.name: _line(runs[0], method)["mean"] for method in runs[0].methods}
    lines: list[dict[str, Any]] = []
    for place, run in enumerate(runs):
        brief = [f"{name} = {_shown(values[place])}" for name, values in differing.items()]
        same = run.manifest.get("data_id") == runs[0].manifest.get("data_id")
        for method in run.methods:
            line = _line(run, method)
            known = place and same and line["mean"] is not None and first.get(method.name) is not None
            line["difference"] = f"{100 * (line['mean'] - first[method.name]):+.1f}" if known else "–"
            lines.append({"run": run.name, "settings": brief if len(brief) <= BRIEF else [], **line})
    settings = [{"name": name, "values": [_shown(value) for value in values]} for name, values in differing.items()]
    return {
        "lines": lines,
        "settings": settings,
        "runs": [run.name for run in runs],
        "open": len(settings) <= 12,
        "notes": soft_notes(lines),
    }


def _line(run: RunRecord, method: MethodRecord) -> dict[str, Any]:
    wanted = (method.name, run.config.network.name, "strict")
    row = next((row for row in run.rows if (row["set"], row["network"], row["protocol"]) == wanted), None)
    outcome: Mapping[str, Any] = method.outcome or {}
    avg_var, loss = method.avg_var, outcome.get("relative_loss")
    return {
        "method": method.title,
        "avg_var": "–" if avg_var is None else f"{avg_var:.4g}",
        "expert_accuracy": percent(method.expert_accuracy),
        "loss": "–" if loss is None else f"{loss:.3f}",
        "validation": percent(outcome.get("validation_accuracy")),
        "mean": row["mean"] if row else None,
        "test": percent(row["mean"], row["std"]) + soft_mark(row) if row else "–",
        "n": row["n"] if row else "–",
        "targets": row.get("targets") if row else None,
    }


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

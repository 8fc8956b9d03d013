"""One study's table on one base, from rows of the results file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.reproduce.results import Group, Row, group
from benchmarks.reproduce.statistics import Difference, paired, summary
from benchmarks.reproduce.studies import Study

_EXPERT_TABLES, _COST_TABLES = ("experts", "calibration"), ("speed", "time")
PEAK = "peak*"


@dataclass(frozen=True)
class Comparison:
    """A variant against another, paired by seed, in percentage points."""

    study: str
    base: str
    variant: str
    against: str
    difference: Difference

    @property
    def verdict(self) -> str:
        """What the interval says."""
        if self.difference.low is None:
            return "one seed: no interval"
        return {1: f"better than {self.against}", -1: f"worse than {self.against}", 0: "no difference shown"}[
            self.difference.sign
        ]


@dataclass(frozen=True)
class Block:
    """What the results file has of a study on a base: groups of rows by variant, in the study's order."""

    study: Study
    scale: str
    base: str
    groups: Mapping[str, Group]

    @classmethod
    def of(cls, rows: Sequence[Row], study: Study, scale: str, base: str) -> Block:
        """Gather it."""
        found = {item.name: group(rows, study.name, scale, base, item.name) for item in study.variants}
        return cls(study, scale, base, {name: rows for name, rows in found.items() if rows is not None})

    @property
    def views(self) -> list[tuple[str, str]]:
        """(network, protocol) of every accuracy there is, the main one first."""
        seen: dict[tuple[str, str], None] = {}
        for members in self.groups.values():
            for row in members.rows:
                seen |= {(network, protocol): None for network, found in row["accuracy"].items() for protocol in found}
        return list(seen)

    def comparisons(self) -> dict[str, Comparison]:
        """Every variant against its reference, where both have common seeds, under the main view."""
        if not self.views:
            return {}
        main, found = self.views[0], {}
        for name, members in self.groups.items():
            against = self.study.variant(name).against or self.study.reference
            if against in ("", name) or against not in self.groups:
                continue
            gap = paired(members.accuracies(*main), self.groups[against].accuracies(*main))
            if gap is not None:
                found[name] = Comparison(self.study.name, self.base, name, against, gap)
        return found


@cache
def published() -> dict[str, Any]:
    """The paper's figures."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / "paper.json").read_text(encoding="utf-8"))
    return found


def paper_cell(block: Block) -> str:
    """Which of the paper's cells stands beside a block; empty = none."""
    if block.scale == "paper":
        return block.base
    small = "cifar10" in block.base
    return str(published()["small"].get(block.study.name, "")) if small else ""


def table(block: Block) -> str:
    """The block as Markdown."""
    views, comparisons = block.views, block.comparisons()
    cell = paper_cell(block)
    paper = published()["studies"].get(block.study.name, {}).get(cell, {})
    head = ["", *_cost_heads(block), *(_view_title(view, views[0]) for view in views), "n"]
    head += [f"paper, {cell}"] if paper else []
    head += ["difference, points [95 %]", "reads"] if comparisons else []
    lines = []
    for name, members in block.groups.items():
        line = [name, *_costs(block, members), *(_mean(members, view) for view in views), _count(members)]
        line += [paper.get(name, "")] if paper else []
        if comparisons:
            found = comparisons.get(name)
            line += [found.difference.text(), found.verdict] if found else ["", ""]
        lines.append(line)
    return markdown(head, lines)


def cost_table(block: Block) -> str:
    """What the distilled rows of a block took, beside the paper's Table VI; empty without such rows."""
    head = ["", "experts, s", "distillation, s", "s per iteration", "evaluation, s", "GPU memory, MiB"]
    paper = published()["seconds_per_iteration"].get(paper_cell(block), "") if block.scale == "paper" else ""
    lines = []
    for name, members in block.groups.items():
        rows = [row for row in members.rows if "seconds" in row.get("distillation", {}) and row.get("evaluation")]
        if not rows:
            continue
        each = [row["distillation"]["seconds"] / row["distillation"]["iterations"] for row in rows]
        memory = [row["distillation"]["gpu_mib"] for row in rows if "gpu_mib" in row["distillation"]]
        trained = [row["experts"]["seconds"] for row in rows if "seconds" in row["experts"]]
        line = [
            f"{summary(trained).mean:.0f}" if trained else "",
            summary([row["distillation"]["seconds"] for row in rows]).text(0),
            summary(each).text(3),
            summary([row["evaluation"]["seconds"] for row in rows]).text(0),
            f"{max(memory):.0f}" if memory else "",
        ]
        lines.append([name, *line, *([paper] if paper else [])])
    return markdown([*head, *(["paper: s per iteration"] if paper else [])], lines) if lines else ""


def _view_title(view: tuple[str, str], main: tuple[str, str]) -> str:
    network, protocol = view
    name = "accuracy %" if network == main[0] else network
    return name if protocol == "strict" else f"{name}, {PEAK if protocol == 'peak' else protocol}"


def _mean(members: Group, view: tuple[str, str]) -> str:
    values = list(members.accuracies(*view).values())
    return summary(values).text() if values else ""


def _count(members: Group) -> str:
    return f"{len(members.rows)}" + (f", {members.diverged} diverged" if members.diverged else "")


def _cost_heads(block: Block) -> list[str]:
    if block.study.name in _EXPERT_TABLES:
        return ["Avg_Var", f"times {block.study.reference}'s", "expert accuracy %", "paper: Avg_Var / accuracy"]
    if block.study.name in _COST_TABLES:
        return ["iterations", "experts, s", "distillation, s"]
    return ["match"] if any("distillation" in row for members in block.groups.values() for row in members.rows) else []


def _costs(block: Block, members: Group) -> list[str]:
    if block.study.name in _EXPERT_TABLES:
        return _expert_cells(block, members)
    distilled = [row["distillation"] for row in members.rows if "distillation" in row]
    if block.study.name in _COST_TABLES:
        iterations = f"{distilled[0]['iterations']}" if distilled else ""
        experts = [row.get("experts", {}) for row in members.rows]
        trained = [item["cpu_seconds"] for item in experts if "cpu_seconds" in item]
        took = [item["cpu_seconds"] for item in distilled if "cpu_seconds" in item]
        return [iterations, *(f"{summary(values).mean:.0f}" if values else "" for values in (trained, took))]
    if not _cost_heads(block):
        return []
    losses = [item["relative_loss"] for item in distilled if item["relative_loss"] is not None]
    return [f"{summary(losses).mean:.2f}" if losses else ""]


def _expert_cells(block: Block, members: Group) -> list[str]:
    trained = [row["experts"] for row in members.rows if "experts" in row]
    if not trained:
        return ["", "", "", ""]
    moves = [item["avg_var"] for item in trained]
    accuracies = [100 * item["validation_accuracy"] for item in trained]
    name = next(name for name, found in block.groups.items() if found is members)
    cell, ratio = paper_cell(block), ""
    if block.study.reference in block.groups:
        plain = [row["experts"]["avg_var"] for row in block.groups[block.study.reference].rows if "experts" in row]
        ratio = f"{summary(moves).mean / summary(plain).mean:.1f}" if plain else ""
    values = [published()[kind].get(cell, {}).get(name, "") for kind in ("avg_var", "expert_accuracy")]
    return [summary(moves).text(4), ratio, summary(accuracies).text(), " / ".join(filter(None, values))]


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows) + "\n"

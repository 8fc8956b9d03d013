"""docs/results.md from the results file: every figure and every verdict on the page is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ast_ray.config import apply_overrides
from benchmarks.reproduce.components import OFF
from benchmarks.reproduce.results import Row
from benchmarks.reproduce.scales import SCALES, base_config, described
from benchmarks.reproduce.studies import MEDIUM, SMALL, STUDIES, Study
from benchmarks.reproduce.tables import Block, Comparison, cost_table, markdown, published, table

NEGLIGIBLE = 0.2  # points; the paper's gains per component are 0.4 to 0.8
_LONGER = "MTT, 3 times the iterations"
_COMPONENTS = ("ladder", "ablation", "initial", "switches")
_INTRO = """# Results

Made by `python -m benchmarks.reproduce render` from `benchmarks/results/cells.jsonl` alone; no figure is typed by hand.
[How to reproduce](reproduce.md) says what a cell is, how to run it again and what was chosen how.

How to read the tables:

- Accuracy is that of fresh networks on the whole test set, in %: per seed the mean over the cell's networks, then mean
  ± sample standard deviation over the n seeds. A seed decides starting images, draws and networks. Experts are shared
  between seeds except where the study is about experts, so the deviation leaves out what other experts would change.
- Without a protocol's name it is `strict`: the network after its last pass. `peak`* takes the best pass on the test
  set: it is what published tables show, and is there to be compared with them only.
- Differences are paired by seed: mean and 95 % interval (Student's t) in percentage points. *No difference shown*
  means that the interval holds 0, not that there is none.
- *match* is the matching loss over the last 100 iterations, relative to the expert's own distance: 1 = the student
  covers none of it.
- The paper's figures are of networks of width 128 at full length on the cell named: the direction of a difference can
  be compared with the small scale here, its size cannot.
"""


def page(rows: Sequence[Row]) -> str:
    """The whole page."""
    blocks = [block for scale in SCALES for study in STUDIES.values() for block in _blocks(rows, study, scale)]
    parts = [_INTRO, *_summary(blocks)]
    for scale, title in (("cpu", "## Small scale: two CPU cores"), ("paper", "## The paper's scale")):
        mine = [block for block in blocks if block.scale == scale]
        parts.append(title + "\n")
        if not mine:
            parts.append(f"No cell of this scale has been run: `{command(STUDIES['methods'], scale)}`.\n")
        for study in dict.fromkeys(block.study.name for block in mine):
            parts += _section([block for block in mine if block.study.name == study])
    parts += _provenance(rows)
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def command(study: Study, scale: str, seeds: int = 5) -> str:
    """What to type to run a study."""
    return f"python -m benchmarks.reproduce run {study.name} --scale {scale} --seeds {seeds}"


def _blocks(rows: Sequence[Row], study: Study, scale: str) -> list[Block]:
    found = [Block.of(rows, study, scale, base) for base in study.bases.get(scale, ())]
    return [block for block in found if block.groups]


def _section(blocks: Sequence[Block]) -> list[str]:
    study, scale = blocks[0].study, blocks[0].scale
    parts = [f"### {study.title}\n", f"{study.question} {study.note}".strip() + "\n"]
    if study.name == "experts":
        cells = published()["one_constraint"]
        told = "; ".join(f"{cell}: {figures}" for cell, figures in cells.items() if cell != "text")
        parts.append(f"{cells['text']} ({told}).\n")
    for block in blocks:
        config = apply_overrides(base_config(scale, block.base, "ast"), study.settings.get(scale, {}))
        parts.append(f"**{block.base}**: {described(config)}.\n")
        parts.append(table(block))
        if study.name == "methods" and (costs := cost_table(block)):
            parts.append(f"Time, wall clock, mean over seeds; experts are trained once for all seeds.\n\n{costs}")
    parts.append(f"```bash\n{command(study, scale)}\n```\n")
    return parts


def _summary(blocks: Sequence[Block]) -> list[str]:
    """What helps, what does not, and what was not shown, by the intervals alone."""
    colour = [block for block in blocks if block.scale == "cpu" and block.base in (SMALL, MEDIUM)]
    mine = [block for block in colour if block.base == SMALL]
    comparisons = {(found.study, found.variant): found for block in mine for found in block.comparisons().values()}
    if not comparisons:
        return []
    parts = ["## What the small scale says\n"]
    if sentence := _headline(colour):
        parts.append(sentence + "\n")
    parts += _components(comparisons)
    parts += _counted(comparisons.values())
    return parts


def _headline(blocks: Iterable[Block]) -> str:
    sentences = []
    for block in blocks:
        found = block.comparisons()
        if block.study.name == "methods" and "AST" in found:
            item = found["AST"]
            sentences.append(
                f"AST against MTT on {block.base}, at equal iterations: {item.difference.text()} points over "
                f"{item.difference.n} seeds ({item.verdict})."
            )
        if block.study.name == "experts" and "SGD" in block.groups:
            sentences += _smoothness(block)
        if block.study.name == "time" and (slow := found.get(_LONGER)):
            ours, theirs = (_cost(block.groups[name].rows) for name in ("AST", _LONGER))
            sentences.append(
                f"Experts and one distillation take AST {ours:.0f} s of one core, and MTT with three times the "
                f"iterations {theirs:.0f} s; this MTT against AST: {slow.difference.text()} points ({slow.verdict})."
            )
    return " ".join(sentences)


def _cost(rows: Sequence[Row]) -> float:
    """Processor seconds of a cell's experts and its distillation, mean over seeds."""
    whole = [row for row in rows if row["diverged"] is None]
    return sum(row["experts"]["cpu_seconds"] + row["distillation"]["cpu_seconds"] for row in whole) / len(whole)


def _smoothness(block: Block) -> list[str]:
    moves = {
        name: [row["experts"]["avg_var"] for row in members.rows if "experts" in row]
        for name, members in block.groups.items()
    }
    means = {name: sum(values) / len(values) for name, values in moves.items() if values}
    wanted = ("SGD", "SGD + momentum", "momentum + both")
    if not all(name in means for name in wanted):
        return []
    plain, momentum, smooth = (means[name] for name in wanted)
    change = "with both constraints it is" if smooth < momentum else "the constraints do not bring it down: it is"
    return [
        f"Momentum alone makes Avg_Var {momentum / plain:.1f} times that of SGD; {change} {smooth / plain:.1f} times."
    ]


def _components(comparisons: dict[tuple[str, str], Comparison]) -> list[str]:
    lines = []
    for name in OFF:
        out = comparisons.get(("ablation", f"AST without {name}"))
        into = comparisons.get(("ablation", f"MTT with {name}"))
        step = comparisons.get(("ladder", f"+ {name}"))
        if out or into or step:
            cells = [item.difference.text() if item else "" for item in (out, into, step)]
            lines.append([name, *cells, _component_verdict(out, into, step)])
    if not lines:
        return []
    head = ["component", "taken out of AST", "put into MTT", "on the ladder", "reads"]
    rule = f"an interval that does not hold 0 counts here from {NEGLIGIBLE:g} points on"
    return [f"Differences in accuracy, points [95 %]; {rule}:\n", markdown(head, lines)]


def _component_verdict(out: Comparison | None, into: Comparison | None, step: Comparison | None) -> str:
    """A component helps where taking it out hurts, or adding it helps, by more than a negligible difference."""
    known = [item for item in (out, into, step) if item and item.difference.low is not None]
    if not known:
        return "too few seeds"
    signs = [-_sign(out), _sign(into), _sign(step)]
    if 1 in signs and -1 in signs:
        return "helps in one place, hurts in another"
    return "helps" if 1 in signs else "hurts" if -1 in signs else "not shown to help"


def _sign(item: Comparison | None) -> int:
    return item.difference.sign if item and abs(item.difference.mean) >= NEGLIGIBLE else 0


def _counted(comparisons: Iterable[Comparison]) -> list[str]:
    known = [item for item in comparisons if item.difference.low is not None and item.study in _COMPONENTS]
    if not known:
        return []
    shown = [item for item in known if item.difference.sign]
    return [
        f"Of the {len(known)} intervals of the studies {', '.join(_COMPONENTS)}, {len(shown)} do not hold 0; by chance "
        f"alone about {0.05 * len(known):.1f} would not.\n"
    ]


def _provenance(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    machines: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        hardware = row["hardware"]
        name = hardware["gpu"] or f"{hardware['processor']}, {hardware['cpus']} cores, one thread per cell"
        machines.setdefault((name, f"torch {row['versions']['torch']}"), []).append(row)
    lines = []
    for (name, versions), mine in machines.items():
        commits = ", ".join(f"`{commit}`" for commit in dict.fromkeys(row["commit"] for row in mine))
        days = sorted({str(row["when"])[:10] for row in mine})
        lines.append([name, versions, commits, " to ".join(dict.fromkeys((days[0], days[-1]))), str(len(mine))])
    head = ["hardware", "library", "commits", "when", "rows"]
    return ["## Where these rows come from\n", markdown(head, lines)]

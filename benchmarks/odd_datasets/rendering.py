"""docs/odd-data.md from the results file: every figure and every verdict on the page is computed from its rows."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.odd_datasets.catalogue import SETS, OddSet
from benchmarks.odd_datasets.results import SHOWN, Row, newest
from benchmarks.reproduce.results import ROOT
from benchmarks.reproduce.statistics import Difference, Mean, paired
from benchmarks.reproduce.tables import markdown

PAGE = ROOT / "docs" / "odd-data.md"
_TITLES = {"random": "random", "representative": "representative", "mtt": "MTT", "ast": "AST", "full": "all images"}
_LONGEST = 300
_INTRO = """# Odd data

Sets of images as people have them, each given to `ast-ray run` with nothing set but where the images are and how many
are wanted per class. `benchmarks/odd_datasets/` makes the sets, the same bytes from the same seed, and this page, from
`benchmarks/results/odd_datasets.jsonl` alone; no figure is typed by hand.

```bash
python -m benchmarks.odd_datasets list
python -m benchmarks.odd_datasets make odd-data/ mixed-sizes palette      # to look at them, or to try a command
python -m benchmarks.odd_datasets run --cifar10 shared/data/cifar10       # measure what has no row yet
python -m benchmarks.odd_datasets render
```

How to read the tables:

- Accuracy is of fresh networks on the set's test images, in %: mean ± sample standard deviation over n networks of one
  run, one seed. *random* and *representative* are real images of the same number, *all images* the training set.
- *AST - random* is the mean of the differences, paired by network, with its 95 % interval (Student's t), in percentage
  points. *above* and *below* follow its sign alone: where the interval holds 0, another seed may say otherwise.
- *refused* means that the command ended with a message before anything was trained; *failed*, that it ended without
  both figures after that, or without a message. A result in bold is not what it should be: sets that cannot be used
  as they are should be refused, all others should end above.
- Time is of the whole command, start and decoding included, on the number of threads named below; it is
  left out where the machine did other work besides.
"""


def page(rows: Sequence[Row]) -> str:
    """Return the whole page; of a set that was measured several times, the last row counts."""
    found = newest(row for row in rows if row["set"] in SETS)
    cases = [item for item in SETS.values() if item.case]
    others = [item for item in SETS.values() if not item.case]
    parts = [_INTRO]
    if not found:
        parts.append("No set has been measured yet.\n")
    for title, items in (("First commands that once failed", cases), ("Odd sets", others)):
        if any(item.name in found for item in items):
            parts += [f"## {title}\n", _counted(items, found), _table(items, found)]
    parts += _messages(found)
    parts += _provenance(list(found.values()))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _counted(items: Sequence[OddSet], found: Mapping[str, Row]) -> str:
    """How the measured ones ended, in a sentence."""
    measured = [item for item in items if item.name in found]
    counts = Counter(found[item.name]["verdict"] for item in measured)
    words = (
        ("above", "ended above random real images"),
        ("below", "ended not above them"),
        ("refused", "were refused before the work"),
        ("failed", "failed"),
    )
    ends = ", ".join(f"{counts[name]} {text}" for name, text in words if counts[name])
    wrong = [item.name for item in measured if not is_as_it_should_be(item, found[item.name])]
    left = [item.name for item in items if item.name not in found]
    parts = [f"Of {len(measured)} sets {ends}."]
    parts += [f"Not as they should: {', '.join(wrong)}."] if wrong else ["All ended as they should."]
    parts += [f"Not measured: {', '.join(left)}."] if left else []
    return " ".join(parts) + "\n"


def _table(items: Sequence[OddSet], found: Mapping[str, Row]) -> str:
    head = ["set", "images", *_TITLES.values(), "AST - random", "seconds", "result"]
    return markdown(head, [_line(item, found[item.name]) for item in items if item.name in found])


def _line(item: OddSet, row: Row) -> list[str]:
    options = f" With `{shlex.join(item.options)}`." if item.options else ""
    means = [_mean(row, name) for name in SHOWN]
    gap = difference(row)
    result = str(row["verdict"]) if is_as_it_should_be(item, row) else f"**{row['verdict']}**"
    code = "" if row["exit_code"] in (0, None) else f" (exit code {row['exit_code']})"
    return [
        f"`{item.name}`: {item.oddity}{options}",
        f"{row['images']} of {row['classes']} classes, {row['size']}, {row['container']}",
        *means,
        gap.text() if gap else "",
        _seconds(row),
        result + code,
    ]


def _seconds(row: Row) -> str:
    """Its time, left out where the machine did other work besides."""
    return "" if row.get("shared") else f"{row['seconds']:.0f}"


def is_as_it_should_be(item: OddSet, row: Row) -> bool:
    """Tell if a set ended above random real images, or was refused, whichever it should."""
    verdicts = {"result": ("above",), "refusal": ("refused",), "either": ("above", "refused")}
    return row["verdict"] in verdicts[item.ends]


def _mean(row: Row, name: str) -> str:
    found = row["accuracy"].get(name)
    if found is None:
        return ""
    std = None if found["std"] is None else 100 * found["std"]
    return f"{Mean(100 * found['mean'], std, found['n']).text()} (n = {found['n']})"


def difference(row: Row) -> Difference | None:
    """AST less random real images in points, paired by network; None where either is missing."""
    pair = [row["accuracy"].get(name) for name in ("ast", "random")]
    if None in pair:
        return None
    ours, theirs = (
        {seed: 100 * value for seed, value in zip(item["seeds"], item["accuracies"], strict=True)} for item in pair
    )
    return paired(ours, theirs)


def _messages(found: Mapping[str, Row]) -> list[str]:
    """What the command said where it has no result."""
    lines = []
    for name in SETS:
        row = found.get(name)
        if row is not None and row["message"]:
            text = " ".join(str(row["message"]).split())
            shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
            lines.append([f"`{name}`", str(row["verdict"]), _seconds(row), f"`{shown}`"])
    if not lines:
        return []
    return ["## What was said\n", markdown(["set", "result", "seconds", "message"], lines)]


def _provenance(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        hardware = row["hardware"]
        name = f"{hardware['gpu'] or hardware['processor']}, {hardware['cpus']} cores, {row['threads']} threads a run"
        groups.setdefault((name, f"torch {row['versions']['torch']}", str(row["commit"])), []).append(row)
    lines = []
    for (name, versions, commit), mine in groups.items():
        days = sorted({str(row["when"])[:10] for row in mine})
        lines.append([name, versions, f"`{commit}`", " to ".join(dict.fromkeys((days[0], days[-1]))), str(len(mine))])
    return ["## Where these rows come from\n", markdown(["hardware", "library", "commit", "when", "rows"], lines)]

"""From rows of single networks to the final table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ast_ray.core.dd_ranking import augmentation_robust_score, label_robust_score

_REFERENCES = ("random", "full")


def summarize(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Group rows by (set, network, protocol): mean and sample standard deviation of the accuracy, n, seeds.

    The order of groups is that of their first row. With one network the deviation is null, not zero. Strict groups
    carry DD-Ranking's scores where the rows for them are there (see `attach_scores`).
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["network"], row["protocol"]), []).append(row)
    table = []
    for (name, network, protocol), members in groups.items():
        members = sorted(members, key=lambda row: row["seed"])
        accuracies = [row["accuracy"] for row in members]
        table.append(
            {
                "set": name,
                "network": network,
                "protocol": protocol,
                "mean": statistics.fmean(accuracies),
                "std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
                "n": len(accuracies),
                "seeds": [row["seed"] for row in members],
                "accuracies": accuracies,
                "images": members[0]["images"],
                **_training(members),
                **({"targets": members[0]["targets"]} if "targets" in members[0] else {}),
            }
        )
    attach_scores(table)
    return table


def _training(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a group's steps and its mean training accuracies, where its rows have them."""
    found: dict[str, Any] = {}
    if all(row.get("steps") for row in members):
        found["steps"] = members[0]["steps"]
    for name in ("train_accuracy", "train_accuracy_before"):
        if all(row.get(name) is not None for row in members):
            found[name] = statistics.fmean(row[name] for row in members)
    return found


def attach_scores(table: Sequence[dict[str, Any]]) -> None:
    """Add DD-Ranking's ``ior``, ``hlr`` and ``lrs``, and ``ars``, to strict groups of sets that are not references.

    They need strict groups of ``random`` (and ``full`` for hlr and lrs) on the same network; ``ars`` also
    ``no-augmentation`` groups of the set and of ``random``. Each is computed per seed and averaged; a reference
    that lacks a seed stands in with its mean.
    """
    groups = {(row["set"], row["network"], row["protocol"]): row for row in table}
    for row in table:
        if row["set"] in _REFERENCES or row["protocol"] != "strict":
            continue
        network = row["network"]
        random, full = groups.get(("random", network, "strict")), groups.get(("full", network, "strict"))
        if random is not None:
            gains = _differences(row, random)
            row["ior"] = statistics.fmean(gains)
        if random is not None and full is not None:
            gaps = [-gap for gap in _differences(row, full)]
            row["hlr"] = statistics.fmean(gaps)
            scores = [label_robust_score(gain, gap) for gain, gap in zip(gains, gaps, strict=True)]
            row["lrs"] = statistics.fmean(scores)
        plain, plain_random = (groups.get((name, network, "no-augmentation")) for name in (row["set"], "random"))
        if random is not None and plain is not None and plain_random is not None and plain["n"] == row["n"]:
            pairs = zip(gains, _differences(plain, plain_random), strict=True)
            row["ars"] = statistics.fmean(augmentation_robust_score(*pair) for pair in pairs)


def _differences(row: Mapping[str, Any], reference: Mapping[str, Any]) -> list[float]:
    known = dict(zip(reference["seeds"], reference["accuracies"], strict=True))
    pairs = zip(row["seeds"], row["accuracies"], strict=True)
    return [accuracy - known.get(seed, reference["mean"]) for seed, accuracy in pairs]

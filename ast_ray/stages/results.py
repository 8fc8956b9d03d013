"""From rows of single networks to the final table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any


def summarize(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Group rows by (set, network, protocol): mean and sample standard deviation of the accuracy, n, seeds.

    The order of groups is that of their first row. With one network the deviation is null, not zero.
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
            }
        )
    return table

"""Published accuracy of every method of the comparison, mean and standard deviation in %, each by its own protocol.

Sources: AST's Table III (arXiv 2310.10541) for DC, DSA, DM, CAFE and TESLA, with DSA on CIFAR-100 from DSA's paper and
at 50 images from DM's; FTD's Table 1 (arXiv 2211.11004); FRePo's own (arXiv 2206.00719), on its own larger network.
DC, DSA, DM and CAFE report the last pass; TESLA, FTD, FRePo, MTT and AST the best one on the test set.
"""

from __future__ import annotations

from ast_ray.config.presets.cells import PAPER

Figure = tuple[float, float]

_TABLES: dict[str, dict[tuple[str, int], Figure]] = {
    "dc": {
        ("cifar10", 1): (28.3, 0.5), ("cifar10", 10): (44.9, 0.5), ("cifar10", 50): (53.9, 0.5),
        ("cifar100", 1): (12.8, 0.3), ("cifar100", 10): (25.2, 0.3),
    },
    "dsa": {
        ("cifar10", 1): (28.8, 0.7), ("cifar10", 10): (52.1, 0.5), ("cifar10", 50): (60.6, 0.5),
        ("cifar100", 1): (13.9, 0.3), ("cifar100", 10): (32.3, 0.3), ("cifar100", 50): (42.8, 0.4),
    },
    "dm": {
        ("cifar10", 1): (26.0, 0.8), ("cifar10", 10): (48.9, 0.6), ("cifar10", 50): (63.0, 0.4),
        ("cifar100", 1): (11.4, 0.3), ("cifar100", 10): (29.7, 0.3), ("cifar100", 50): (43.6, 0.4),
        ("tiny", 1): (3.9, 0.2), ("tiny", 10): (12.9, 0.4), ("tiny", 50): (24.1, 0.3),
    },
    "cafe": {
        ("cifar10", 1): (30.3, 1.1), ("cifar10", 10): (46.3, 0.6), ("cifar10", 50): (55.5, 0.6),
        ("cifar100", 1): (12.9, 0.3), ("cifar100", 10): (27.8, 0.3), ("cifar100", 50): (37.9, 0.3),
    },
    "frepo": {
        ("cifar10", 1): (46.8, 0.7), ("cifar10", 10): (65.5, 0.4), ("cifar10", 50): (71.7, 0.2),
        ("cifar100", 1): (28.7, 0.1), ("cifar100", 10): (42.5, 0.2), ("cifar100", 50): (44.3, 0.2),
        ("tiny", 1): (15.4, 0.3), ("tiny", 10): (25.4, 0.2),
    },
    "tesla": {
        ("cifar10", 1): (48.5, 0.8), ("cifar10", 10): (66.4, 0.8), ("cifar10", 50): (72.6, 0.7),
        ("cifar100", 1): (24.8, 0.4), ("cifar100", 10): (41.7, 0.3), ("cifar100", 50): (47.9, 0.3),
        ("tiny", 1): (9.8, 0.4), ("tiny", 10): (24.4, 0.6),
    },
}  # fmt: skip


def _by_cell() -> dict[tuple[str, str, int], Figure]:
    found = {(method, *cell): figure for method, cells in _TABLES.items() for cell, figure in cells.items()}
    return found | {(method, *cell): figure for method, cells in PAPER.items() for cell, figure in cells.items()}


LAST_PASS = frozenset({"dc", "dsa", "dm", "cafe"})
"""Methods whose papers report the last pass of an evaluation; the others report the best one on the test set."""
PUBLISHED = _by_cell()
"""(mean, deviation) by (method, dataset, images per class)."""

"""The published settings, cell by cell of Tables III and V: student steps, epochs, batch, learning rates, ZCA.

MTT: Cazenavette et al. 2022 (arXiv 2203.11932) and its code. FTD: Du et al. 2023 (arXiv 2211.11004). DATM: Guo et al.
2024 (arXiv 2310.05773). AST: arXiv 2310.10541v2 and its authors' published code.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from ast_ray.config.datasets import SUBSETS

Method = Literal["ast", "mtt", "ftd"]


@dataclass(frozen=True)
class Cell:
    """One row of distillation settings: N, M, T+, b (0 = the whole set), lr_img, lr_lr, alpha_0, ZCA."""

    syn_steps: int
    expert_epochs: int
    max_start_epoch: int
    batch_size: int
    lr_img: float
    lr_lr: float
    student_lr: float
    zca: bool = False

    def changed(self, other: Cell) -> str:
        """The values of ``other`` that differ from these, in words; empty when none does."""
        ours, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return ", ".join(f"{_WORDS[name]} {_shown(name, theirs[name])}" for name in ours if ours[name] != theirs[name])


_WORDS = {
    "syn_steps": "N",
    "expert_epochs": "M",
    "max_start_epoch": "T+",
    "batch_size": "b",
    "lr_img": "lr_img",
    "lr_lr": "lr_lr",
    "student_lr": "alpha_0",
    "zca": "ZCA",
}


def _shown(name: str, value: float) -> str:
    if name == "zca":
        return "yes" if value else "no"
    return "all" if name == "batch_size" and value == 0 else f"{value:g}"


_MTT: dict[tuple[str, int], Cell] = {
    ("cifar10", 1): Cell(50, 2, 2, 0, 100, 1e-7, 0.01, zca=True),
    ("cifar10", 10): Cell(30, 2, 20, 0, 100, 1e-5, 0.001, zca=True),
    ("cifar10", 50): Cell(30, 2, 40, 0, 1000, 1e-5, 0.001),
    ("cifar100", 1): Cell(20, 3, 20, 0, 1000, 1e-5, 0.01, zca=True),
    ("cifar100", 10): Cell(20, 2, 20, 0, 1000, 1e-5, 0.01),
    ("cifar100", 50): Cell(80, 2, 40, 125, 1000, 1e-5, 0.01, zca=True),
    ("tiny", 1): Cell(10, 2, 10, 0, 1e4, 1e-4, 0.01),
    ("tiny", 10): Cell(20, 2, 40, 200, 1e4, 1e-4, 0.01),
    ("tiny", 50): Cell(20, 2, 40, 300, 1e4, 1e-4, 0.01),
    **{(name, 1): Cell(20, 2, 10, 0, 1e4, 1e-6, 0.01) for name in SUBSETS},
    **{(name, 10): Cell(20, 2, 10, 20, 1e4, 1e-6, 0.01) for name in SUBSETS},
}

# Values that differ from MTT's row of the same cell. A batch of 64 is more than the 10 images of a subset at ipc 1.
_FTD: dict[tuple[str, int], dict[str, float]] = {
    ("cifar10", 50): {"student_lr": 0.01},
    ("cifar100", 1): {"syn_steps": 40},
    ("cifar100", 10): {"max_start_epoch": 40},
    ("cifar100", 50): {"batch_size": 1000},
    ("tiny", 1): {"syn_steps": 30},
    ("tiny", 10): {"batch_size": 500},
    **{(name, 1): {"lr_lr": 1e-4} for name in SUBSETS},
    **{(name, 10): {"lr_lr": 1e-4, "batch_size": 64} for name in SUBSETS},
}

_AST: dict[tuple[str, int], dict[str, float | bool]] = {
    ("cifar10", 50): {"zca": True},
    ("cifar100", 1): {"syn_steps": 40, "max_start_epoch": 15, "lr_img": 100, "zca": False},
    ("cifar100", 10): {"max_start_epoch": 30, "batch_size": 128},
    ("cifar100", 50): {"batch_size": 700, "zca": False},
}

AST_KEEPS = (("cifar10", 1), ("cifar10", 10), ("tiny", 1))
"""Cells in which AST's published code has MTT's values unchanged."""

# DATM: N/M/T+ (growing)/b/lr_img/lr_lr/alpha_0, always ZCA, with soft labels and 100 x 100 experts.
DATM: dict[tuple[str, int], str] = {
    ("cifar10", 1): "80/2/0..4/10/100/1e-7/.01",
    ("cifar10", 10): "80/2/10->20/100/100/1e-5/.01",
    ("cifar10", 50): "80/2/20->40/500/1000/1e-5/.01",
    ("cifar100", 1): "40/3/10->20/all/1000/1e-5/.01",
    ("cifar100", 10): "80/2/30->50/all/1000/1e-5/.01",
    ("cifar100", 50): "80/2/20..70/1000/1000/1e-5/.01",
    ("tiny", 1): "40/2/15->20/all/1e4/1e-4/.01",
    ("tiny", 10): "40/2/10..50/500/100/1e-4/.01",
    ("tiny", 50): "20/2/40..70/1000/100/1e-4/.01",
}

EMA = {
    ("cifar10", 1): 0.9999,
    ("cifar10", 10): 0.9995,
    ("cifar10", 50): 0.999,
    ("cifar100", 1): 0.9995,
    ("cifar100", 10): 0.9995,
    ("cifar100", 50): 0.999,
    ("tiny", 1): 0.999,
    ("tiny", 10): 0.999,
}
"""FTD's decay of the moving average of the synthetic images, by cell."""

# Top-1 accuracy in %, mean and deviation: Table III (CIFAR, Tiny ImageNet) and Table V (subsets) of arXiv 2310.10541v2.
PAPER: dict[Method, dict[tuple[str, int], tuple[float, float]]] = {
    "ast": {
        ("cifar10", 1): (48.8, 0.9),
        ("cifar10", 10): (67.1, 0.4),
        ("cifar10", 50): (74.6, 0.5),
        ("cifar100", 1): (26.6, 0.4),
        ("cifar100", 10): (44.4, 0.6),
        ("cifar100", 50): (51.7, 0.7),
        ("tiny", 1): (13.7, 1.4),
        ("tiny", 10): (25.7, 1.1),
        ("nette", 1): (53.1, 0.8),
        ("nette", 10): (68.4, 1.2),
        ("woof", 1): (31.6, 0.6),
        ("woof", 10): (39.5, 1.5),
        ("fruit", 1): (30.0, 1.2),
        ("fruit", 10): (45.4, 1.5),
        ("meow", 1): (34.6, 1.5),
        ("meow", 10): (44.9, 1.7),
    },
    "mtt": {
        ("cifar10", 1): (46.2, 0.8),
        ("cifar10", 10): (65.4, 0.7),
        ("cifar10", 50): (71.6, 0.2),
        ("cifar100", 1): (24.3, 0.3),
        ("cifar100", 10): (39.7, 0.4),
        ("cifar100", 50): (47.7, 0.2),
        ("tiny", 1): (8.8, 0.3),
        ("tiny", 10): (23.2, 0.2),
        ("nette", 1): (47.7, 0.9),
        ("nette", 10): (63.0, 1.3),
        ("woof", 1): (28.6, 0.8),
        ("woof", 10): (35.8, 1.8),
        ("fruit", 1): (26.6, 0.8),
        ("fruit", 10): (40.3, 1.3),
        ("meow", 1): (30.7, 1.6),
        ("meow", 10): (40.4, 2.2),
    },
    "ftd": {
        ("cifar10", 1): (46.8, 0.3),
        ("cifar10", 10): (66.6, 0.3),
        ("cifar10", 50): (73.8, 0.2),
        ("cifar100", 1): (25.2, 0.2),
        ("cifar100", 10): (43.4, 0.3),
        ("cifar100", 50): (50.7, 0.3),
        ("tiny", 1): (10.4, 0.3),
        ("tiny", 10): (24.5, 0.2),
        ("nette", 1): (52.2, 1.0),
        ("nette", 10): (67.7, 0.7),
        ("woof", 1): (30.1, 1.0),
        ("woof", 10): (38.8, 1.4),
        ("fruit", 1): (29.1, 0.9),
        ("fruit", 10): (44.9, 1.5),
        ("meow", 1): (33.8, 1.5),
        ("meow", 10): (43.3, 0.6),
    },
}


def cells() -> list[tuple[str, int]]:
    """Every (dataset, ipc) there is a row for."""
    return list(_MTT)


def cell(method: Method, dataset: str, ipc: int) -> Cell:
    """The row of a method; AST's and FTD's start from MTT's, as those authors did."""
    changes = {"ast": _AST, "ftd": _FTD, "mtt": {}}[method].get((dataset, ipc), {})
    return dataclasses.replace(_MTT[dataset, ipc], **changes)  # type: ignore[arg-type]


def own_values(method: Method, dataset: str, ipc: int) -> bool:
    """Return whether the method publishes values of its own for a cell, beside MTT's."""
    if method == "ftd":
        return (dataset, ipc) in EMA or dataset in SUBSETS
    return method == "mtt" or (dataset, ipc) in _AST

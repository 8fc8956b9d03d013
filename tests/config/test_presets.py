"""Every published cell: its values, its text, and what its numbers are counted from."""

from __future__ import annotations

import inspect

import pytest

from ast_ray.config import check, from_dict, to_dict
from ast_ray.config.cost import network_cost
from ast_ray.config.datasets import NAMED_SOURCES, SUBSETS
from ast_ray.config.identity import trained
from ast_ray.config.presets import DATASETS, PRESETS, cost, facts_of_preset, method_config, paper_accuracy, preset
from ast_ray.config.presets.peers import CELLS as PEER_CELLS
from ast_ray.core.networks import build
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.rng import stream
from ast_ray.data.sources.torchvision import NAMES as TORCHVISION

CELLS = [("cifar10", n) for n in (1, 10, 50)] + [("cifar100", n) for n in (1, 10, 50)]
CELLS += [("tiny", n) for n in (1, 10, 50)] + [(name, n) for name in SUBSETS for n in (1, 10)]


def row(name: str) -> tuple[object, ...]:
    """N/M/T+/b/lr_img/lr_lr/alpha_0 and ZCA, as the literature's tables write them."""
    config = preset(name)
    d = config.distill
    values = (d.syn_steps, d.expert_epochs, d.max_start_epoch, d.batch_size, d.lr_img, d.lr_lr, d.student_lr)
    return (*values, config.data.preprocess == "zca")


def test_all_cells_of_tables_three_and_five_are_there_for_every_method():
    wanted = {f"{method}{dataset}-ipc{n}" for method in ("", "mtt-", "ftd-") for dataset, n in CELLS}
    others = {f"{method}-{dataset}-ipc{n}" for method, cells in PEER_CELLS.items() for dataset, n in cells}
    assert set(PRESETS) == {"digits", "cifar10-cpu", *wanted, *others}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_says_where_its_values_come_from(name: str):
    config = check(preset(name))
    assert config.preset == name
    assert from_dict(to_dict(config)) == config
    facts = facts_of_preset(config)
    assert config.distill.batch_size <= config.distill.ipc * facts.classes
    text = inspect.getdoc(PRESETS[name]) or ""
    assert len(text.splitlines()[0]) < 140
    if name in ("digits", "cifar10-cpu"):
        return
    if name.partition("-")[0] not in PEER_CELLS:
        for part in ("N/M/T+/b", "lr_img/lr_lr/alpha_0", "Experts:", "Student:"):
            assert part in text
    reported = paper_accuracy(name)
    assert (f"{reported[0]} ± {reported[1]} %" if reported else "no figure") in text


# Copied by hand from the published tables, cell by cell.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mtt-cifar10-ipc1", (50, 2, 2, 0, 100, 1e-7, 0.01, True)),
        ("mtt-cifar10-ipc10", (30, 2, 20, 0, 100, 1e-5, 0.001, True)),
        ("mtt-cifar10-ipc50", (30, 2, 40, 0, 1000, 1e-5, 0.001, False)),
        ("mtt-cifar100-ipc1", (20, 3, 20, 0, 1000, 1e-5, 0.01, True)),
        ("mtt-cifar100-ipc50", (80, 2, 40, 125, 1000, 1e-5, 0.01, True)),
        ("mtt-tiny-ipc10", (20, 2, 40, 200, 1e4, 1e-4, 0.01, False)),
        ("mtt-meow-ipc10", (20, 2, 10, 20, 1e4, 1e-6, 0.01, False)),
        ("ftd-cifar10-ipc50", (30, 2, 40, 0, 1000, 1e-5, 0.01, False)),
        ("ftd-cifar100-ipc1", (40, 3, 20, 0, 1000, 1e-5, 0.01, True)),
        ("ftd-cifar100-ipc10", (20, 2, 40, 0, 1000, 1e-5, 0.01, False)),
        ("ftd-cifar100-ipc50", (80, 2, 40, 1000, 1000, 1e-5, 0.01, True)),
        ("ftd-tiny-ipc1", (30, 2, 10, 0, 1e4, 1e-4, 0.01, False)),
        ("ftd-tiny-ipc10", (20, 2, 40, 500, 1e4, 1e-4, 0.01, False)),
        ("ftd-woof-ipc10", (20, 2, 10, 64, 1e4, 1e-4, 0.01, False)),
        ("ftd-woof-ipc1", (20, 2, 10, 0, 1e4, 1e-4, 0.01, False)),
        ("cifar10-ipc1", (50, 2, 2, 0, 100, 1e-7, 0.01, True)),
        ("cifar10-ipc10", (30, 2, 20, 0, 100, 1e-5, 0.001, True)),
        ("cifar100-ipc1", (40, 3, 15, 0, 100, 1e-5, 0.01, False)),
        ("cifar100-ipc10", (20, 2, 30, 128, 1000, 1e-5, 0.01, False)),
        ("cifar100-ipc50", (80, 2, 40, 700, 1000, 1e-5, 0.01, False)),
        ("tiny-ipc1", (10, 2, 10, 0, 1e4, 1e-4, 0.01, False)),
    ],
)
def test_values_of_the_literature(name: str, expected: tuple[object, ...]):
    assert row(name) == expected


def test_experts_and_protocol_of_each_method():
    ast, mtt, ftd = (preset(f"{method}cifar100-ipc10") for method in ("", "mtt-", "ftd-"))
    assert (ast.expert.count, ast.expert.epochs, ast.expert.lr, ast.expert.momentum) == (50, 50, 0.003, 0.9)
    assert (ast.expert.weight_decay, ast.expert.lr_decay_epoch, ast.expert.penalty_weight) == (1e-3, 25, 1)
    assert ast.run.methods == ("ast", "mtt")
    for other, name in ((mtt, "mtt"), (ftd, "ftd")):
        assert trained(other) == method_config(other, "mtt"), "nothing of AST is left on"
        assert (other.expert.count, other.expert.lr, other.expert.momentum) == (100, 0.01, 0)
        assert other.run.methods == (name,)
        assert other.evaluate.lr_decay_factor == 0.1
    flat = method_config(ftd, "ftd")
    assert (flat.expert.sharpness_rho, flat.expert.sharpness_alpha, flat.distill.image_average) == (0.01, 1.0, 0.9995)
    assert method_config(preset("ftd-cifar10-ipc10"), "ftd").expert.sharpness_alpha == 0.3
    assert "0.9995" in (PRESETS["ftd-cifar100-ipc10"].__doc__ or "")


# Copied by hand from the papers and their code: iterations, rate of the pixels, protocol, preprocessing, statistics.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dc-cifar10-ipc1", (1000, 0.1, "dc", "standard", "auto")),
        ("dc-cifar100-ipc10", (10_000, 0.1, "dc", "standard", "cifar100")),
        ("dsa-cifar10-ipc50", (50_000, 0.1, "mtt", "standard", "auto")),
        ("dm-cifar100-ipc50", (20_000, 1.0, "mtt", "standard", "cifar100")),
        ("cafe-cifar100-ipc1", (20_000, 0.1, "mtt", "standard", "cifar10")),
        ("frepo-cifar10-ipc10", (500_000, 3e-4, "frepo", "zca", "auto")),
        ("tesla-cifar10-ipc1", (10_000, 500.0, "mtt", "standard", "auto")),
        ("tesla-cifar100-ipc50", (10_000, 500.0, "mtt", "zca", "auto")),
        ("tesla-cifar10-ipc10", (10_000, 50.0, "mtt", "zca", "auto")),
    ],
)
def test_values_of_the_methods_beside_them(name: str, expected: tuple[object, ...]):
    (method,) = preset(name).run.methods
    config = method_config(preset(name), method)
    rates = {
        "dc": config.gradient_matching.lr_img, "dsa": config.gradient_matching.lr_img,
        "dm": config.distribution_matching.lr_img, "cafe": config.feature_alignment.lr_img,
        "frepo": config.feature_regression.lr, "tesla": config.distill.lr_img,
    }  # fmt: skip
    found = (config.distill.iterations, rates[method], config.evaluate.protocols[1])
    assert (*found, config.data.preprocess, config.data.statistics) == expected
    assert config.distill.outer == "sgd"
    assert method == name.partition("-")[0]


def test_flips_of_frepo_and_rows_of_tesla():
    flips = {
        name: preset(f"frepo-{name}").feature_regression.flip
        for name in ("cifar10-ipc50", "cifar100-ipc1", "tiny-ipc1")
    }
    assert all(flips.values())
    assert not preset("frepo-cifar100-ipc10").feature_regression.flip
    assert row("tesla-cifar10-ipc1")[:4] == (50, 2, 5, 0)
    assert row("tesla-cifar100-ipc50")[:4] == (80, 2, 40, 125)
    assert method_config(preset("tesla-cifar10-ipc1"), "tesla").distill.gradient == "direct"


def test_disagreements_are_told():
    text = " ".join((PRESETS["cifar100-ipc10"].__doc__ or "").split())
    assert "MTT has T+ 20, b all" in text
    assert "FTD has T+ 40, b all" in text
    assert "80/2/30->50/all/1000/1e-5/.01" in text
    assert "1e3, 1e4 and 1e5 all appear" in " ".join((PRESETS["nette-ipc1"].__doc__ or "").split())


def test_data_settings():
    assert preset("cifar100-ipc1").data.statistics == "cifar10"
    nette = preset("mtt-nette-ipc10").data
    assert (nette.source, nette.subset, nette.image_size) == ("imagenet", "nette", 128)
    assert preset("tiny-ipc1").data.source == "tiny-imagenet"
    assert {*TORCHVISION, "digits", "tiny-imagenet", "imagenet"} == set(NAMED_SOURCES)


def test_published_accuracies():
    assert paper_accuracy("cifar100-ipc10") == (44.4, 0.6)
    assert paper_accuracy("mtt-tiny-ipc1") == (8.8, 0.3)
    assert paper_accuracy("ftd-meow-ipc10") == (43.3, 0.6)
    assert paper_accuracy("dm-tiny-ipc50") == (24.1, 0.3)
    assert paper_accuracy("frepo-cifar10-ipc1") == (46.8, 0.7)
    assert paper_accuracy("yellow-ipc1") is None
    assert paper_accuracy("digits") is None


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("cifar10-ipc1", 320_010), ("cifar100-ipc1", 504_420), ("tiny-ipc1", 857_160), ("nette-ipc1", 615_690)],
)
def test_parameters_are_those_of_the_literature_and_of_the_network(name: str, parameters: int):
    config = preset(name)
    facts = facts_of_preset(config)
    side = facts.image_size
    network = build(config.network, (facts.channels, side, side), facts.classes, stream(0, "count"))
    assert network_cost(config, facts).parameters == FlatSpec.of(network).numel == parameters


def test_costs_by_hand():
    config = preset("mtt-cifar10-ipc1")
    counted = cost(config, DATASETS["cifar10"])
    assert counted.expert_bytes == 100 * 51 * 4 * 320_010
    assert counted.image_bytes == 60_000 * (3072 + 8)
    forward = 2 * (9 * 3 * 128 * 1024 + 9 * 128 * 128 * 256 + 9 * 128 * 128 * 64 + 2048 * 10)
    assert network_cost(config, DATASETS["cifar10"]).forward == forward
    assert counted.experts == forward * 100 * 50 * (3 * 45_000 + 5_000)
    validations = 10 * 2 * (1000 * 10 * 3 + 5_000)
    assert counted.distillation == forward * (50 * 5000 * 10 * 12 + validations)
    assert counted.seconds(1e9, workers=2, methods=1) == pytest.approx(
        ((counted.experts + counted.evaluation) / 2 + counted.distillation) / 1e9
    )
    assert counted.memory > 4 * (60_000 * 3072 + 50 * 320_010)


def test_what_costs_more_is_estimated_higher():
    def memory(name: str) -> int:
        config = preset(name)
        return cost(config, facts_of_preset(config)).memory

    assert memory("cifar10-ipc1") < memory("tiny-ipc1") < memory("nette-ipc1")
    assert memory("mtt-cifar100-ipc1") < memory("mtt-cifar100-ipc10")

"""The flat table of settings, and what each of them accepts."""

from __future__ import annotations

import dataclasses

import pytest

from ast_ray.config import Config, schema
from ast_ray.config.methods import METHODS
from ast_ray.config.schema import aliases


def test_every_leaf_of_every_section_is_a_setting():
    expected = []
    for item in dataclasses.fields(Config):
        default = getattr(Config(), item.name)
        if dataclasses.is_dataclass(default):
            expected += [f"{item.name}.{leaf.name}" for leaf in dataclasses.fields(default)]
        else:
            expected.append(item.name)
    assert list(schema()) == expected


def test_every_setting_is_explained_and_accepts_its_default():
    for path, item in schema().items():
        assert item.doc, path
        assert item.parse(item.default) == item.default, path
        text = ",".join(item.default) or "none" if item.is_list else str(item.default)
        assert item.parse(text) == item.default, path


def test_symbols_of_the_paper():
    symbols = {path: item.symbol for path, item in schema().items() if item.symbol}
    assert symbols["distill.syn_steps"] == "N"
    assert symbols["distill.expert_epochs"] == "M"
    assert symbols["distill.max_start_epoch"] == "T+"
    assert symbols["expert.penalty_weight"] == "mu"
    assert symbols["distill.rho"] == "rho"


def test_a_last_part_names_a_setting_only_where_it_is_unique():
    names = aliases()
    assert names["rho"] == "distill.rho"
    assert names["distill.rho"] == "distill.rho"
    assert names["seed"] == "seed"
    for ambiguous in ("lr", "batch_size", "augmentation", "momentum", "weight_decay"):
        assert ambiguous not in names
        assert sum(path.endswith(f".{ambiguous}") for path in schema()) > 1


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("distill.ipc", "10", 10),
        ("distill.ipc", "1e1", 10),
        ("distill.ipc", 10.0, 10),
        ("seed", "9007199254740993", 9007199254740993),  # 2^53 + 1: not a float
        ("distill.lr_lr", "1e-7", 1e-7),
        ("distill.lr_img", 1000, 1000.0),
        ("expert.clip_start", 1, 1.0),  # a bound that belongs to the range
        ("distill.rho", 0, 0.0),
        ("distill.siamese", "Yes", True),
        ("distill.siamese", "off", False),
        ("distill.siamese", False, False),
        ("distill.beta_strategy", "scaled", "scaled"),
        ("run.methods", "ast", ("ast",)),
        ("run.methods", " ast , mtt ,", ("ast", "mtt")),
        ("run.methods", ["mtt"], ("mtt",)),
        ("run.baselines", "none", ()),
        ("run.baselines", [], ()),
        ("evaluate.architectures", "none", ()),
        ("data.subset", "", ""),  # empty text means something where it is the default
        ("compute.store", "", ""),
    ],
)
def test_coercion(path, text, value):
    parsed = schema()[path].parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("distill.ipc", "many", "expected a whole number"),
        ("distill.ipc", 1.5, "expected a whole number"),
        ("distill.ipc", "1.5", "expected a whole number"),
        ("distill.ipc", True, "expected a whole number"),
        ("distill.ipc", None, "expected a whole number"),
        ("distill.ipc", 0, "must be at least 1"),
        ("distill.lr_img", "fast", "expected a number"),
        ("distill.lr_img", [1], "expected a number"),
        ("distill.lr_img", "nan", "must be finite"),
        ("distill.lr_img", float("inf"), "must be finite"),
        ("distill.lr_img", 10**400, "must be finite"),
        ("distill.lr_img", 0, "must be above 0"),
        ("distill.outer_momentum", 1, "must be below 1"),
        ("expert.clip_start", 1.01, "must be at most 1"),
        ("network.depth", 9, "must be at most 8"),
        ("seed", -1, "must be at least 0"),
        ("seed", 2**63, "must be at most 9223372036854775807"),
        ("data.split_seed", "1180591620717411303424", "must be at most 9223372036854775807"),
        ("network.width", 10**6, "must be at most 4096"),
        ("expert.batch_size", 2**63, "must be at most 1048576"),
        ("evaluate.batch_size", "0x10", "expected a whole number"),
        ("compute.threads", 100_000, "must be at most 1024"),
        ("expert.count", 10**8, "must be at most 100000"),
        ("distill.lr_img", 1e38, "must be at most 1e+06"),
        ("distill.iterations", 10**9, "must be at most 100000000"),
        pytest.param("expert.count", 16**9999, "must be at most 100000", id="a huge number"),
        pytest.param("expert.count", "9" * 9999, "must be finite", id="a huge number as text"),
        ("distill.siamese", "maybe", "expected true or false"),
        ("distill.siamese", 2, "expected true or false"),
        ("distill.augmentation", False, "expected text, got bool"),
        ("distill.beta_strategy", "equals", "not one of equal, scaled, final; did you mean 'equal'?"),
        ("run.methods", "", f"is empty; give names of {', '.join(METHODS)}, or 'none' for none at all"),
        ("run.methods", " , ", f"is empty; give names of {', '.join(METHODS)}, or 'none' for none at all"),
        ("run.methods", [""], f"is empty; give names of {', '.join(METHODS)}, or 'none' for none at all"),
        ("evaluate.architectures", "", "is empty; give names, or 'none' for none at all"),
        ("data.source", "", "is empty; leave it out for the default, 'digits'"),
        ("data.source", "  ", "is empty; leave it out for the default, 'digits'"),
        ("data.root", "", "is empty; leave it out for the default, '~/.cache/ast-ray'"),
        ("run.methods", 3, "expected a list, or names joined by commas"),
        ("run.methods", "ast,mt", f"not one of {', '.join(METHODS)}; did you mean 'mtt'?"),
    ],
)
def test_what_is_refused_and_why(path, value, reason):
    with pytest.raises(ValueError) as caught:
        schema()[path].parse(value)
    assert str(caught.value) == reason


def test_every_number_has_both_bounds_with_its_default_inside():
    numbers = [item for item in schema().values() if item.kind in (int, float)]
    assert len(numbers) > 60
    for item in numbers:
        assert item.bounds["low"] is not None or item.bounds["above"] is not None, item.path
        assert item.bounds["high"] is not None or item.bounds["below"] is not None, item.path
        assert item.parse(item.default) == item.default

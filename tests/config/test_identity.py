"""What is part of an artefact's identity, and what is not."""

from __future__ import annotations

import hashlib

import pytest

from ast_ray.config import (
    Config,
    DistillConfig,
    ExpertConfig,
    apply_overrides,
    differences,
    expert_identity,
    fingerprint,
    method_identity,
    schema,
    to_yaml,
)
from ast_ray.config.identity import earlier_config

# What changes the bytes of an expert, and of a synthetic set; everything else must leave a fingerprint alone.
EXPERT = ("seed", "data.", "network.", "expert.")
SYNTHETIC = (*EXPERT, "distill.")
PROTOCOL = ("passes", "batch_size", "momentum", "weight_decay", "lr", "lr_decay_pass", "lr_decay_factor")
ELSEWHERE = ("data.source", "data.root", "data.download", "data.placement")
HOW_NOT_WHAT = ("distill.checkpoint_every", "distill.log_every", "distill.gradient")
SGD_ONLY = ("distill.lr_img", "distill.lr_lr", "distill.outer_momentum")
NORMALIZED_ONLY = ("distill.step_img", "distill.step_lr")


def _other(path: str) -> object:
    """A valid value that is not the default."""
    item = schema()[path]
    if item.is_list:
        return () if item.default else (item.choices or ("x",))[:1]
    if item.choices:
        return next(choice for choice in item.choices if choice != item.default)
    if item.kind is bool:
        return not item.default
    if item.kind is str:
        return f"{item.default}x"
    if item.bounds["below"] is not None or item.bounds["high"] == 1:
        return 0.25
    return item.default + 1


@pytest.mark.parametrize("path", [path for path, item in schema().items() if len(item.choices) != 1])
def test_every_setting_is_in_or_out_on_purpose(path):
    in_expert = path.startswith(EXPERT) and path not in (*ELSEWHERE, "expert.count")
    in_set = path.startswith(SYNTHETIC) and path not in (*ELSEWHERE, *HOW_NOT_WHAT)
    in_set = in_set or path in [f"evaluate.{name}" for name in PROTOCOL]  # a set is chosen by validation
    base = apply_overrides(Config(), {"outer": "sgd" if path in SGD_ONLY else "normalized", "reachable_only": False})
    other = True if path == "expert.reachable_only" else "sgd" if path == "distill.outer" else _other(path)
    changed = apply_overrides(base, {path: other})
    assert changed != base
    for identity, inside in ((expert_identity, in_expert), (method_identity, in_set)):
        same = fingerprint(identity(changed, "d")) == fingerprint(identity(base, "d"))
        assert same != inside, identity.__name__


@pytest.mark.parametrize(("outer", "unused"), [("normalized", SGD_ONLY), ("sgd", NORMALIZED_ONLY)])
def test_settings_of_the_other_outer_optimizer_are_not_part_of_a_set(outer, unused):
    base = apply_overrides(Config(), {"outer": outer})
    changed = apply_overrides(base, {path: _other(path) for path in unused})
    assert changed != base
    assert method_identity(changed, "d") == method_identity(base, "d")
    names = method_identity(base, "d")["distill"]
    assert not names.keys() & {path.removeprefix("distill.") for path in unused}
    assert ("outer" in names) == (outer == "normalized")


def test_what_matching_reaches_decides_the_experts_unless_all_epochs_are_trained():
    far = {"distill.max_start_epoch": 7}
    for whole in (True, False):
        base = apply_overrides(Config(), {"expert.reachable_only": not whole})
        same = expert_identity(apply_overrides(base, far), "d") == expert_identity(base, "d")
        assert same == whole


def test_the_data_itself_is_part_of_both():
    for identity in (expert_identity, method_identity):
        assert fingerprint(identity(Config(), "one")) != fingerprint(identity(Config(), "two"))


def test_fingerprint_is_the_hash_of_sorted_compact_json():
    text = b'{"a":1,"b":{"c":[1,2],"d":"x"}}'
    expected = hashlib.sha256(text).hexdigest()[:16]
    assert fingerprint({"b": {"d": "x", "c": [1, 2]}, "a": 1}) == expected


def test_equal_configurations_have_equal_fingerprints():
    """A whole number in a field of real numbers is the same value, and must be the same text in the hash."""
    whole = Config(distill=DistillConfig(outer="sgd", lr_img=100), expert=ExpertConfig(penalty_weight=1))
    real = Config(distill=DistillConfig(outer="sgd", lr_img=100.0), expert=ExpertConfig(penalty_weight=1.0))
    assert whole == real
    assert fingerprint(method_identity(whole, "d")) == fingerprint(method_identity(real, "d"))
    assert to_yaml(whole) == to_yaml(real)


def test_differences_are_named_by_setting():
    ours = expert_identity(Config(), "d")
    theirs = expert_identity(apply_overrides(Config(), {"expert.lr": 0.01, "width": 64}), "d")
    assert differences(ours, theirs) == ["expert.lr: 0.003 here, 0.01 there", "network.width: 128 here, 64 there"]
    assert differences(ours, ours) == []
    assert differences({"a": {"b": 1}}, {}) == ["a.b: 1 here, absent there"]


def test_a_setting_that_came_later_leaves_older_identities_alone():
    distill = method_identity(Config(), "d")["distill"]
    assert "segments" not in distill
    assert method_identity(apply_overrides(Config(), {"segments": 2}), "d")["distill"] == {**distill, "segments": 2}


@pytest.mark.parametrize("way", ["recompute", "stored", "full_graph"])
def test_ways_to_the_exact_gradient_are_not_part_of_a_set_and_another_gradient_is(way):
    exact = method_identity(Config(), "d")
    assert "gradient" not in exact["distill"]
    assert method_identity(apply_overrides(Config(), {"gradient": way}), "d") == exact
    direct = apply_overrides(Config(), {"gradient": "direct"})
    assert method_identity(direct, "d")["distill"] == {**exact["distill"], "gradient": "direct"}
    assert expert_identity(direct, "d") == expert_identity(Config(), "d")
    assert differences(method_identity(direct, "d"), exact) == ["distill.gradient: direct here, exact there"]


@pytest.mark.parametrize(
    ("setting", "value", "experts"),
    [
        ("expert.sharpness_rho", 0.01, True),
        ("expert.sharpness_alpha", 0.3, True),
        ("distill.image_average", 0.99, False),
    ],
)
def test_settings_of_ftd_are_part_of_an_identity_only_where_they_are_used(setting, value, experts):
    plain, changed = Config(), apply_overrides(Config(), {setting: value})
    section, name = setting.split(".")
    assert name not in method_identity(plain, "d")[section]
    assert method_identity(changed, "d")[section][name] == value
    assert (expert_identity(changed, "d") != expert_identity(plain, "d")) is experts
    assert earlier_config({}) == earlier_config({section: {name: 0.0}})

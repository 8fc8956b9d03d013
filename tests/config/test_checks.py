"""Rules between settings, and the shipped presets."""

from __future__ import annotations

import dataclasses

import pytest

from ast_ray.config import Config, apply_overrides, check, fingerprint, from_dict, method_identity, problems_of, to_dict
from ast_ray.config.checks import unused_settings
from ast_ray.config.identity import trained
from ast_ray.config.methods import as_mtt
from ast_ray.config.networks import automatic_depth
from ast_ray.config.presets import PRESETS, method_config, preset
from ast_ray.errors import ConfigError


def _problems(changes: dict[str, object]) -> dict[str, str]:
    return {problem.setting: problem.reason for problem in problems_of(apply_overrides(Config(), changes))}


def test_the_defaults_are_valid():
    assert problems_of(Config()) == []
    assert check(Config()) == Config()


@pytest.mark.parametrize(("start", "ahead", "epochs", "valid"), [(5, 2, 6, True), (5, 2, 5, False), (1, 50, 50, True)])
def test_the_last_segment_must_lie_within_the_recorded_epochs(start, ahead, epochs, valid):
    found = _problems({"max_start_epoch": start, "expert_epochs": ahead, "expert.epochs": epochs})
    assert list(found) == ([] if valid else ["distill.max_start_epoch"])


def test_the_largest_valid_start_is_named_and_is_valid():
    changes = {"max_start_epoch": 60, "expert_epochs": 3, "expert.epochs": 20}
    reason = _problems(changes)["distill.max_start_epoch"]
    assert reason.endswith("needs epoch 62, but experts record epochs 0..20; largest valid: 18")
    assert _problems({**changes, "max_start_epoch": 18}) == {}
    assert "distill.max_start_epoch" in _problems({**changes, "max_start_epoch": 19})


@pytest.mark.parametrize(
    ("changes", "setting", "reason"),
    [
        (
            {"syn_steps": 1, "expert_epochs": 2},
            "distill.syn_steps",
            "at least one student step per expert epoch (M = 2)",
        ),
        ({"init_clusters": 3, "ipc": 2}, "distill.init_clusters", "at most ipc = 2"),
        ({"log_base": 1}, "distill.log_base", "the base must be above 1; 0 = e"),
        ({"log_base": 0.5}, "distill.log_base", "the base must be above 1; 0 = e"),
        ({"device": "cpu", "gpus_per_task": 0.5}, "compute.gpus_per_task", "device is cpu; use 0"),
        ({"backend": "serial", "address": "auto"}, "compute.address", "joins no cluster"),
        ({"methods": "none", "baselines": "none"}, "run.methods", "nothing to do"),
        ({"methods": "ast,ast"}, "run.methods", "names something twice"),
        (
            {"expert.augmentation": "color_corp"},
            "expert.augmentation",
            "unknown operation 'corp'; did you mean 'crop'?",
        ),
        ({"distill.augmentation": "_"}, "distill.augmentation", "unknown operation ''"),
    ],
)
def test_rules(changes, setting, reason):
    found = _problems(changes)
    assert list(found) == [setting]
    assert reason in found[setting]


@pytest.mark.parametrize(
    "changes",
    [
        {"syn_steps": 1, "expert_epochs": 2, "beta_strategy": "final"},
        {"init_clusters": 2, "ipc": 2},
        {"log_base": 5},
        {"distill.augmentation": "none", "expert.augmentation": "flip"},
        {"methods": "none"},
        {"baselines": "none"},
        {"device": "cuda", "gpus_per_task": 0.25},
    ],
)
def test_what_is_allowed(changes):
    assert _problems(changes) == {}


def test_all_problems_at_once():
    with pytest.raises(ConfigError) as caught:
        check(apply_overrides(Config(), {"max_start_epoch": 99, "log_base": 1, "methods": "none", "baselines": "none"}))
    assert [problem.setting for problem in caught.value.problems] == [
        "distill.max_start_epoch",
        "distill.log_base",
        "run.methods",
    ]


@pytest.mark.parametrize(
    ("section", "values", "setting"),
    [
        ("distill", {"ipc": 0}, "distill.ipc"),
        ("distill", {"ipc": 1.5}, "distill.ipc"),
        ("distill", {"ipc": True}, "distill.ipc"),
        ("expert", {"lr": "0.1"}, "expert.lr"),
        ("distill", {"siamese": "yes"}, "distill.siamese"),
        ("run", {"methods": ["ast"]}, "run.methods"),
        ("distill", {"init": "kmeans"}, "distill.init"),
    ],
)
def test_configurations_written_in_python_are_checked_as_well(section, values, setting):
    config = Config()
    config = dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})
    assert [problem.setting for problem in problems_of(config)] == [setting]


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_clean_with_every_method_and_survive_a_file(name):
    config = preset(name)
    assert config.preset == name
    assert PRESETS[name].__doc__
    for method in config.run.methods:
        assert problems_of(method_config(config, method)) == []
    again = from_dict(to_dict(config))
    assert again == config
    assert fingerprint(method_identity(again, "data")) == fingerprint(method_identity(config, "data"))


def test_the_presets_of_the_main_job_are_there():
    assert {"digits", "cifar10-ipc1", "cifar10-ipc10", "cifar10-cpu"} <= PRESETS.keys()


def test_published_values_of_the_cifar10_presets():
    one, ten = preset("cifar10-ipc1").distill, preset("cifar10-ipc10").distill
    assert (one.ipc, one.syn_steps, one.expert_epochs, one.max_start_epoch) == (1, 50, 2, 2)
    assert (one.lr_img, one.lr_lr, one.student_lr) == (100.0, 1e-7, 0.01)
    assert (ten.ipc, ten.syn_steps, ten.expert_epochs, ten.max_start_epoch) == (10, 30, 2, 20)
    assert (ten.lr_img, ten.lr_lr, ten.student_lr) == (100.0, 1e-5, 0.001)
    for name in ("cifar10-ipc1", "cifar10-ipc10"):
        expert = preset(name).expert
        assert (expert.count, expert.epochs, expert.lr_decay_epoch, expert.lr_decay_factor) == (50, 50, 25, 0.5)
        assert (expert.clip_schedule, expert.clip_start, expert.clip_epochs) == ("linear", 0.5, 5)
        assert (expert.penalty_weight, expert.penalty_target) == (1.0, 1.0)
        assert preset(name).data.preprocess == "zca"
        assert (preset(name).network.width, automatic_depth(32)) == (128, 3)


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"preset = 'cifar10-ipc2': unknown preset; did you mean 'cifar10-ipc10?'\?"):
        preset("cifar10-ipc2")


def test_as_mtt_switches_every_component_off_and_keeps_the_budget():
    everything = apply_overrides(
        Config(),
        {
            "student_momentum": 0.9,
            "dropout": 0.2,
            "start_epoch_window": 5,
            "init_clusters": 1,
            "lr_img": 7,
            "rho": 0.3,
            "reachable_only": False,
        },
    )
    config = as_mtt(everything)
    assert (config.expert.lr, config.expert.momentum, config.expert.weight_decay) == (0.01, 0.0, 0.0)
    assert (config.expert.lr_decay_epoch, config.expert.clip_schedule, config.expert.penalty_weight) == (
        0,
        "constant",
        0.0,
    )
    off = config.distill
    assert (off.init, off.init_clusters, off.balanced_inner_loss) == ("random-real", 0, False)
    assert (off.beta_strategy, off.rho, off.student_momentum) == ("final", 0.0, 0.0)
    assert (off.dropout, off.start_epoch_window) == (0.0, 0)
    budget = ("iterations", "syn_steps", "expert_epochs", "max_start_epoch", "ipc", "lr_img", "lr_lr", "student_lr")
    for name in (*budget, "batch_size", "augmentation", "outer_momentum"):
        assert getattr(off, name) == getattr(everything.distill, name)
    assert (config.expert.count, config.expert.epochs) == (everything.expert.count, everything.expert.epochs)
    for section in ("data", "network", "evaluate", "compute", "run", "seed"):
        assert getattr(config, section) == getattr(everything, section)
    assert method_config(everything, "mtt") == trained(config)
    assert method_config(everything, "ast") == everything


@pytest.mark.parametrize(
    ("outer", "path", "instead"),
    [
        ("normalized", "distill.lr_img", "use distill.outer = sgd, or set distill.step_img"),
        ("normalized", "distill.lr_lr", "use distill.outer = sgd, or set distill.step_lr"),
        ("sgd", "distill.step_img", "use distill.outer = normalized, or set distill.lr_img"),
    ],
)
def test_settings_of_the_other_outer_optimizer_are_named_with_what_to_set(outer, path, instead):
    config = apply_overrides(Config(), {"distill.outer": outer})
    (problem,) = unused_settings(config, ["distill.rho", path, "expert.lr"])
    assert problem.setting == path
    assert problem.reason == f"not used with distill.outer = {outer}; {instead}"


def test_the_coefficient_of_flat_experts_needs_their_radius():
    assert list(_problems({"expert.sharpness_alpha": 0.3})) == ["expert.sharpness_alpha"]
    assert "FTD: rho 0.01" in _problems({"expert.sharpness_alpha": 0.3})["expert.sharpness_alpha"]
    assert _problems({"expert.sharpness_alpha": 0.3, "expert.sharpness_rho": 0.01}) == {}
    assert _problems({"expert.sharpness_rho": 0.01}) == {}


def test_mtt_trains_plain_experts():
    flat = apply_overrides(Config(), {"expert.sharpness_rho": 0.01, "expert.sharpness_alpha": 0.3})
    assert as_mtt(flat) == as_mtt(Config())

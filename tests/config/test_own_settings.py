"""Settings of method mtt alone."""

from __future__ import annotations

import pytest

from ast_ray.config import apply_overrides, check, fingerprint, method_identity
from ast_ray.config.presets import method_config, preset
from ast_ray.errors import ConfigError


def config(text: str, **overrides: object):
    values = {name.replace("__", "."): value for name, value in overrides.items()}
    return check(apply_overrides(preset("digits"), {"run.mtt_settings": text, **values}))


def identity(settings, method: str) -> str:
    return fingerprint(method_identity(method_config(settings, method), "data"))


def test_they_change_mtt_and_nothing_else():
    own = config("distill.step-img=0.1, expert.lr=0.5,rho=0.2")
    mtt, plain = method_config(own, "mtt"), config("none")
    assert (mtt.distill.step_img, mtt.expert.lr, mtt.distill.rho) == (0.1, 0.5, 0.2), "what MTT switches off included"
    assert identity(own, "ast") == identity(plain, "ast")
    assert identity(own, "mtt") != identity(plain, "mtt")


def test_mtt_can_keep_what_ast_changes():
    assert identity(config("distill.syn_steps=25", syn_steps=7), "mtt") == identity(config("none"), "mtt")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("distill.step_imgg=3", "unknown setting; did you mean 'distill.step_img'?"),
        ("expert.lr", "expected NAME=VALUE"),
        ("seed=3", "seed is the same for all methods"),
        ("distill.ipc=2", "distill.ipc is the same for all methods"),
        ("syn_steps=0", "must be at least 1"),
        ("syn_steps=3,distill.syn_steps=4", "names distill.syn_steps twice"),
        ("max_start_epoch=90", "start epoch 89 (T+ - 1)"),
        ("distill.lr_img=3", "not used with distill.outer = normalized"),
    ],
)
def test_what_cannot_be_is_told_with_the_rest(text, reason):
    with pytest.raises(ConfigError) as caught:
        config(text, validate_networks=1, init_clusters=7)
    found = {problem.setting: problem.reason for problem in caught.value.problems}
    assert reason in found["run.mtt_settings"]
    assert "distill.init_clusters" in found, "problems of the run's own settings are told beside"


def test_rules_for_what_mtt_switches_off_do_not_bind_it():
    assert method_config(config("syn_steps=1"), "mtt").distill.syn_steps == 1

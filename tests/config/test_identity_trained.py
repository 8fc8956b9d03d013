"""Epochs that matching can reach."""

from __future__ import annotations

from ast_ray.config import Config, DistillConfig, ExpertConfig, expert_identity, fingerprint
from ast_ray.config.identity import reachable_epoch, trained, unused_epochs
from ast_ray.config.presets import method_config

DISTILL = DistillConfig(max_start_epoch=20, expert_epochs=2)


def _config(epochs: int, *, only: bool) -> Config:
    return Config(expert=ExpertConfig(epochs=epochs, reachable_only=only), distill=DISTILL)


def test_the_last_reachable_epoch_ends_the_longest_segment():
    assert reachable_epoch(_config(50, only=True)) == 21  # start epochs 0..19, then M = 2 epochs


def test_only_reachable_epochs_are_trained_when_asked_for():
    assert trained(_config(50, only=False)).expert.epochs == 50
    assert trained(_config(50, only=True)).expert.epochs == 21
    for method in ("ast", "mtt"):
        assert method_config(_config(50, only=True), method).expert.epochs == 21


def test_experts_are_those_of_a_run_that_asks_for_as_many_epochs():
    names = [fingerprint(expert_identity(config, "d")) for config in (_config(50, only=True), _config(21, only=False))]
    assert names[0] == names[1] != fingerprint(expert_identity(_config(50, only=False), "d"))


def test_what_is_unused_is_said():
    said = unused_epochs(_config(50, only=False))
    assert said is not None
    assert "epochs 22..50 are never matched" in said
    assert unused_epochs(_config(50, only=True)) is None
    assert unused_epochs(_config(21, only=False)) is None

"""Identities: the settings that decide an artefact's content, and their hash.

An identity holds what changes the bytes and nothing else: the number of experts, where work runs and how often it is
logged are left out, so that more experts extend a buffer and another machine resumes a run. Experts are trained as far
as matching can reach into their trajectory: epoch T+ - 1 + M (`trained`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ast_ray.config.loading import flatten, from_dict, to_dict
from ast_ray.config.methods import MethodInfo, method_info
from ast_ray.config.settings import Config, NetworkConfig

FORMAT = 1
_NOT_CONTENT = {
    "distill": ("validate_every", "validate_networks", "checkpoint_every", "log_every", "gradient"),
    "data": ("root", "download", "source", "placement"),
    "expert": ("count", "reachable_only"),
}


OUTER_SETTINGS = {"sgd": ("step_img", "step_lr"), "normalized": ("lr_img", "lr_lr", "outer_momentum")}
"""Settings that an outer optimizer does not use, by ``distill.outer``."""


# Settings that came later: with these values they change nothing, and identities made before them stay what they were.
_NOTHING_NEW: dict[str, dict[str, object]] = {
    "distill": {"segments": 1, "engine": "eager", "precision": "float32", "outer": "sgd", "image_average": 0.0},
    "expert": {
        "optimizer": "sgd",
        "expert_engine": "auto",
        "expert_precision": "float32",
        "sharpness_rho": 0.0,
        "sharpness_alpha": 0.0,
    },
    "evaluate": {"full_steps": 0},
    "network": {"first_padding": 1},
}


def earlier_config(values: Mapping[str, Any]) -> Config:
    """Build the configuration that an earlier version wrote; settings it lacks get the values that change nothing.

    Raises:
        ConfigError: see `config.loading.from_dict`.
    """
    return from_dict(values, from_dict(_NOTHING_NEW))


def _section(config: Config, name: str) -> dict[str, Any]:
    values, before = to_dict(config)[name], _NOTHING_NEW.get(name, {})
    left_out = _NOT_CONTENT.get(name, ()) + (OUTER_SETTINGS[config.distill.outer] if name == "distill" else ())
    kept = {key: value for key, value in values.items() if key not in left_out or _another_gradient(key, value)}
    return {key: value for key, value in kept.items() if key not in before or before[key] != value}


def _another_gradient(name: str, value: object) -> bool:
    """True for ``distill.gradient = direct``; all its other values are ways to one gradient."""
    return name == "gradient" and value == "direct"


def network_identity(network: NetworkConfig) -> dict[str, Any]:
    """Return the settings of a network that decide what it computes; padding is ConvNet's alone."""
    values, before = dataclasses.asdict(network), _NOTHING_NEW["network"]
    if network.name != "convnet":
        del values["first_padding"]
    return {key: value for key, value in values.items() if key not in before or before[key] != value}


def expert_identity(config: Config, data_id: str) -> dict[str, Any]:
    """Return what decides an expert's bytes besides its number; ``data_id`` names the source's content."""
    config = trained(config)
    return {
        "format": FORMAT,
        "seed": config.seed,
        "data": {"id": data_id, **_section(config, "data")},
        "network": network_identity(config.network),
        "expert": _section(config, "expert"),
    }


def method_identity(config: Config, data_id: str, method: str = "ast") -> dict[str, Any]:
    """Return what decides a synthetic set's bytes, its selection by validation included.

    Args:
        config: the method's own settings (`config.presets.method_config`). Methods that match experts differ in their
            settings alone; another one carries its name, and nothing of the experts.
    """
    values, info = to_dict(config), method_info(method)
    selection = {name: values["distill"][name] for name in ("validate_every", "validate_networks")}
    distill = _section(config, "distill")
    if info.distill is not None:
        distill = {name: value for name, value in distill.items() if name in info.distill}
    experts = expert_identity(config, data_id)
    if info.needs_experts:
        source: dict[str, Any] = {**experts, "experts": config.expert.count}
    else:
        del experts["expert"]
        source = {**experts, "method": method}
    return {
        **source,
        **({info.section: _section(config, info.section)} if info.section else {}),
        "distill": {**distill, **selection},
        "evaluate": {name: values["evaluate"][name] for name in _protocol(info)},
    }


def _protocol(info: MethodInfo) -> tuple[str, ...]:
    """Return the settings of validation; a method that learns no alpha is validated at the rate of real images."""
    return _PROTOCOL if info.learns_lr else (*_PROTOCOL, "real_lr")


_PROTOCOL = ("passes", "batch_size", "momentum", "weight_decay", "lr", "lr_decay_pass", "lr_decay_factor")


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the SHA-256 of the canonical JSON of an identity."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Name every setting in which two identities differ: ``expert.lr: 0.003 here, 0.01 there``."""
    ours = flatten(wanted)
    theirs = flatten(found)
    unsaid = {**flatten(_NOTHING_NEW), "distill.gradient": "exact"}
    names = sorted(ours.keys() | theirs.keys())
    return [
        f"{name}: {' here, '.join(str(side.get(name, unsaid.get(name, 'absent'))) for side in (ours, theirs))} there"
        for name in names
        if ours.get(name) != theirs.get(name)
    ]


def reachable_epoch(config: Config) -> int:
    """The last expert epoch a distillation with these settings looks at while matching."""
    return config.distill.max_start_epoch - 1 + config.distill.expert_epochs


def trained(config: Config) -> Config:
    """The settings with ``expert.epochs`` as it is trained, which is what identifies the experts.

    With ``expert.reachable_only`` that is the reachable epoch; experts are then those of a run that asks for as many.
    """
    if not config.expert.reachable_only:
        return config
    epochs = min(config.expert.epochs, reachable_epoch(config))
    return dataclasses.replace(config, expert=dataclasses.replace(config.expert, epochs=epochs, reachable_only=False))


def unused_epochs(config: Config) -> str | None:
    """Return a message about epochs that are trained and never matched; None when there are none."""
    reach, epochs = reachable_epoch(config), trained(config).expert.epochs
    if epochs <= reach:
        return None
    return (
        f"expert epochs {reach + 1}..{epochs} are never matched (T+ - 1 + M = {reach}); only representative images are "
        "chosen with the last one; expert.reachable_only = true trains none of them"
    )

"""Checks between settings. Bounds of single settings are checked while they are parsed (`schema`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ast_ray.config.address import address_problem, local_problem, secret_problem
from ast_ray.config.architectures import architecture
from ast_ray.config.identity import OUTER_SETTINGS
from ast_ray.config.methods import METHODS, matched_methods, own_sections
from ast_ray.config.networks import NETWORKS
from ast_ray.config.own_settings import own_names, with_own_settings
from ast_ray.config.schema import schema
from ast_ray.config.settings import DSA_ALL, Config
from ast_ray.errors import ConfigError, Problem, counted, suggestion

DSA_OPERATIONS = tuple(DSA_ALL.split("_"))


def problems_of(config: Config) -> list[Problem]:
    """Return everything wrong with a configuration that can be seen without the data."""
    single = [*_single(config), *_augmentations(config), *_networks(config), *_sharpness(config)]
    return [*single, *_epochs(config), *_distill(config), *_own(config), *_compute(config), *_tune(config)]


def unused_settings(config: Config, named: Iterable[str]) -> list[Problem]:
    """Return a problem for each setting of ``named`` (full paths) that the settings' outer optimizer does not use.

    Rates of the pixels in a method's own section, all called ``lr_img``, go by it too.
    """
    outer = config.distill.outer
    sections = own_sections()
    problems = []
    for path in named:
        section, _, leaf = path.rpartition(".")
        if section in sections and leaf == "lr_img" and outer == "normalized":
            instead = "distill.outer = sgd, or set distill.step_img"
            problems.append(
                Problem(path, _value(config, path), f"not used with distill.outer = {outer}; use {instead}")
            )
        leaf = path.removeprefix("distill.")
        if path.startswith("distill.") and leaf in OUTER_SETTINGS[outer]:
            other = "sgd" if outer == "normalized" else "normalized"
            instead = f"distill.outer = {other}, or set {' and '.join(_INSTEAD[leaf])}"
            problems.append(
                Problem(path, _value(config, path), f"not used with distill.outer = {outer}; use {instead}")
            )
    return problems


_LOGGED = ("validate_every", "validate_networks", "checkpoint_every", "log_every")  # of every distillation


def unread_settings(config: Config, named: Iterable[str]) -> list[Problem]:
    """Return a problem for each setting of ``named`` (full paths) that no method of the run reads.

    A method does not read what it sets itself, to another value than the given one.
    """
    running = dict.fromkeys(config.run.methods)
    chooses = any(name not in ("random", "full") for name in config.run.baselines)
    problems = []
    for path in named:
        readers = _readers(path)
        if readers is None or not running or any(_takes(name, config, path) for name in running if name in readers):
            continue
        if path.startswith("expert.") and chooses and not matched_methods(config):
            continue  # real images are chosen with an expert, by these settings as they are
        able = [name for name in METHODS if name in readers and name not in running and _takes(name, config, path)]
        reason = f"not read by {', '.join(running)}, the methods of this run"
        reason += f"; it is a setting of {', '.join(able)}" if able else ""
        problems.append(Problem(path, _value(config, path), reason + _own_names(running, path)))
    return problems


def _readers(path: str) -> set[str] | None:
    """Return the methods that have a setting; None where it does not depend on the method."""
    section, _, leaf = path.partition(".")
    if section == "expert":
        return {name for name, info in METHODS.items() if info.needs_experts}
    if section == "distill" and leaf not in _LOGGED:
        return {name for name, info in METHODS.items() if info.distill is None or leaf in info.distill}
    if path in ("run.mtt_settings", "run.mtt_lr_lr"):
        return {"mtt"}
    return {name for name, info in METHODS.items() if info.section == section} or None


def _takes(name: str, config: Config, path: str) -> bool:
    """Return whether a method leaves a setting at the given value."""
    return _value(METHODS[name].settings(config), path) == _value(config, path)


_CALLED = {"lr_img": ("lr_img", "lr"), "step_img": ("lr",), "image_average": ("average",), "init": ("init",)}


def _own_names(methods: Iterable[str], path: str) -> str:
    """Return the settings that methods have in place of one of ``distill``, in words; empty where there are none."""
    names = _CALLED.get(path.removeprefix("distill."), ())
    own = (f"{METHODS[method].section}.{name}" for method in methods for name in names)
    found = list(dict.fromkeys(path for path in own if path in schema()))
    return f"; use {' and '.join(found)}" if found else ""


_INSTEAD = {
    "lr_img": ("distill.step_img",),
    "lr_lr": ("distill.step_lr",),
    "outer_momentum": ("distill.step_img", "distill.step_lr"),
    "step_img": ("distill.lr_img",),
    "step_lr": ("distill.lr_lr",),
}


def check(config: Config) -> Config:
    """Return the configuration unchanged, or raise `ConfigError` with every problem."""
    problems = problems_of(config)
    if problems:
        raise ConfigError(problems)
    return config


def _value(config: Config, path: str) -> object:
    value: object = config
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _single(config: Config) -> list[Problem]:
    problems = []
    for path, item in schema().items():
        value = _value(config, path)
        try:
            parsed = item.parse(value)
        except ValueError as error:
            problems.append(Problem(path, value, str(error)))
            continue
        if isinstance(parsed, tuple):
            if parsed != value:
                problems.append(Problem(path, value, "expected a tuple"))
            elif len(set(parsed)) < len(parsed):
                problems.append(Problem(path, value, "names something twice"))
        elif type(parsed) is not type(value) and not (item.kind is float and type(value) is int):
            problems.append(Problem(path, value, f"expected {item.kind.__name__}"))
    return problems


def _augmentations(config: Config) -> list[Problem]:
    problems = []
    for path in ("expert.augmentation", "distill.augmentation"):
        value = str(_value(config, path))
        for name in [] if value == "none" else value.split("_"):
            if name not in DSA_OPERATIONS:
                problems.append(Problem(path, value, f"unknown operation {name!r}{suggestion(name, DSA_OPERATIONS)}"))
    return problems


def _networks(config: Config) -> list[Problem]:
    network, problems = config.network, []
    if network.norm == "batch":
        reason = "a trajectory holds weights, not running statistics; batch norm is for evaluate.architectures only"
        problems.append(Problem("network.norm", network.norm, reason))
    elif network.name in NETWORKS and network.norm not in ("default", *NETWORKS[network.name].norms):
        reason = f"{network.name} has no such variant; valid: default, {', '.join(NETWORKS[network.name].norms)}"
        problems.append(Problem("network.norm", network.norm, reason))
    for text in config.evaluate.architectures:
        try:
            architecture(text, network)
        except ValueError as error:
            problems.append(Problem("evaluate.architectures", text, str(error)))
    if not config.evaluate.protocols:
        problems.append(Problem("evaluate.protocols", (), "name at least one protocol"))
    return problems


def _sharpness(config: Config) -> list[Problem]:
    expert = config.expert
    if expert.sharpness_rho or not expert.sharpness_alpha:
        return []
    reason = "not used with expert.sharpness_rho = 0, which trains plain experts; set both (FTD: rho 0.01) or none"
    return [Problem("expert.sharpness_alpha", expert.sharpness_alpha, reason)]


def _epochs(config: Config) -> list[Problem]:
    reach = config.distill.max_start_epoch - 1 + config.distill.expert_epochs
    if reach <= config.expert.epochs:
        return []
    reason = (
        f"start epoch {config.distill.max_start_epoch - 1} (T+ - 1) plus "
        f"expert_epochs = {config.distill.expert_epochs} (M) needs epoch {reach}, "
        f"but experts record epochs 0..{config.expert.epochs}; "
        f"largest valid: {max(0, config.expert.epochs + 1 - config.distill.expert_epochs)}"
    )
    return [Problem("distill.max_start_epoch", config.distill.max_start_epoch, reason)]


def _distill(config: Config) -> list[Problem]:
    distill, problems = config.distill, []
    if distill.beta_strategy != "final" and distill.syn_steps < distill.expert_epochs:
        reason = f"intermediate matching needs at least one student step per expert epoch (M = {distill.expert_epochs})"
        problems.append(Problem("distill.syn_steps", distill.syn_steps, reason))
    if distill.init_clusters > distill.ipc:
        problems.append(Problem("distill.init_clusters", distill.init_clusters, f"at most ipc = {distill.ipc}"))
    if 0 < distill.log_base <= 1:  # below 1 every nu is negative: the student would climb its loss
        problems.append(Problem("distill.log_base", distill.log_base, "the base must be above 1; 0 = e"))
    return problems


def _own(config: Config) -> list[Problem]:
    """Problems of the settings of method mtt alone, and between them and those it shares."""
    if not config.run.mtt_settings:
        return []
    switched_off = replace(config.distill, beta_strategy="final", init_clusters=0)  # `config.methods.as_mtt`
    try:
        own = with_own_settings(replace(config, distill=switched_off))
    except ConfigError as error:
        return list(error.problems)
    found = [*_augmentations(own), *_epochs(own), *_distill(own), *unused_settings(own, own_names(config))]
    known = {str(problem) for problem in (*_augmentations(config), *_epochs(config), *_distill(config))}
    text = ",".join(config.run.mtt_settings)
    return [Problem("run.mtt_settings", text, str(problem)) for problem in found if str(problem) not in known]


def _compute(config: Config) -> list[Problem]:
    compute, problems = config.compute, []
    if compute.device == "cpu" and compute.gpus_per_task > 0:
        problems.append(Problem("compute.gpus_per_task", compute.gpus_per_task, "device is cpu; use 0"))
    if compute.backend == "serial" and compute.address:
        problems.append(Problem("compute.address", compute.address, "a serial run joins no cluster; use backend = ray"))
    if compute.experts_together > 1 and config.expert.expert_engine == "compiled":
        reason = "the compiled expert step trains one at a time; use 1, or expert.expert_engine = eager"
        problems.append(Problem("compute.experts_together", compute.experts_together, reason))
    problems += address_problems(config)
    if not config.run.methods and not config.run.baselines:
        problems.append(Problem("run.methods", (), "nothing to do: name a method or a baseline"))
    return problems


def address_problems(config: Config) -> list[Problem]:
    """Return the addresses among the settings that cannot be, hold a secret, or stand where only a path will do."""
    found = [
        address_problem(config.compute.store, "compute.store"),
        *(local_problem(str(_value(config, path)), path) for path in ("data.root", "data.source", "tune.space")),
        secret_problem(config.compute.address, "compute.address"),
    ]
    return [problem for problem in found if problem is not None]


def _tune(config: Config) -> list[Problem]:
    tune, problems = config.tune, []
    budget = tune.budget or config.distill.iterations
    for name in ("grace", "report_every"):
        value = getattr(tune, name)
        if value > budget:
            problems.append(
                Problem(f"tune.{name}", value, f"at most a trial's budget of {counted(budget, 'iteration')}")
            )
    if tune.scheduler == "pbt" and tune.searcher != "random":
        reason = "population based training draws its own values after the start; use tune.searcher = random"
        problems.append(Problem("tune.searcher", tune.searcher, reason))
    return problems

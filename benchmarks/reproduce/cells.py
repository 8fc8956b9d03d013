"""From (study, base, variant, seed) to settings, and what identifies a cell wherever it is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ast_ray.config import Config, apply_overrides, check, fingerprint, schema, to_dict
from ast_ray.config.loading import flatten
from ast_ray.config.methods import method_info
from ast_ray.errors import ConfigError, Problem, suggestion
from benchmarks.reproduce.components import restored
from benchmarks.reproduce.scales import SCALES, base_config
from benchmarks.reproduce.studies import Study, Variant, study

# Where the work runs and where images lie changes no result; the name of a preset neither.
_NOT_CONTENT = ("compute.", "tune.", "run.", "data.root", "data.source", "data.download", "data.placement", "preset")
_NOT_LOGGED = ("distill.checkpoint_every", "distill.log_every", "distill.gradient")
# Defaults of the time the rows were made; a setting whose default has changed since is compared with these.
_DEFAULTS_THEN: dict[str, object] = {
    "distill.outer": "sgd",
    "distill.student_lr": 0.01,
    "evaluate.full_steps": 0,
    "expert.reachable_only": False,
}


@dataclass(frozen=True)
class Cell:
    """One figure of one table: a variant of a study on a base, with a seed.

    ``reachable``: experts are trained no further than matching can look.
    """

    scale: str
    study: Study
    base: str
    variant: Variant
    seed: int
    reachable: bool = False

    @property
    def key(self) -> str:
        """For progress lines."""
        return f"{self.study.name} / {self.base} / {self.variant.name} / seed {self.seed}"

    @property
    def config(self) -> Config:
        """The settings of everything after the experts."""
        method = self.variant.method
        config = base_config(self.scale, self.base, method)
        values = flatten(to_dict(config))
        changes: dict[str, object] = restored(base_config(self.scale, self.base, "ast"), *self.variant.adds)
        changes |= self.variant.changes
        for path, factor in self.variant.scaled.items():
            scaled = float(values[path]) * factor  # type: ignore[arg-type]
            changes[path] = max(1, round(scaled)) if schema()[path].kind is int else scaled
        changes |= self.study.settings.get(self.scale, {})
        config = check(apply_overrides(config, {**changes, "seed": self.seed}))
        return within_reach(config) if self.reachable else config

    @property
    def expert_seed(self) -> int:
        """Seeds share experts unless the study is about them."""
        return self.seed if self.study.own_experts else 0

    @property
    def recipe(self) -> str:
        """Hash of what decides the cell but for its seed; seeds are averaged only within one recipe."""
        return fingerprint({**_content(self.config), "seed": None, "own_experts": self.study.own_experts, **self._set})

    @property
    def fingerprint(self) -> str:
        """Hash of what decides the cell: studies that ask for the same one share it."""
        return fingerprint({**_content(self.config), "expert_seed": self.expert_seed, **self._set})

    @property
    def _set(self) -> Mapping[str, str]:
        only = {"only": "experts"} if self.variant.only_experts else {}
        by_name = not self.variant.real and not method_info(self.variant.method).needs_experts
        named = {"method": self.variant.method} if by_name else {}  # methods that match experts differ in settings
        return {"real": self.variant.real, "base": self.base, **only, **named}


def within_reach(config: Config) -> Config:
    """The same settings with experts of T+ + M epochs, the furthest that matching looks at, where they have more.

    Schedules count from the first epoch, so these epochs are those of longer experts, byte for byte; but starting
    images are looked at through the last epoch there is.
    """
    epochs = min(config.expert.epochs, config.distill.max_start_epoch + config.distill.expert_epochs)
    return dataclasses.replace(config, expert=dataclasses.replace(config.expert, epochs=epochs))


def _content(config: Config) -> dict[str, Any]:
    """Settings that differ from their defaults, so that a setting added later leaves old cells as they are."""
    defaults = {path: item.default for path, item in schema().items()} | _DEFAULTS_THEN
    kept = {}
    for path, value in flatten(to_dict(config)).items():
        default = defaults[path]
        plain = list(default) if isinstance(default, tuple) else default
        if value != plain and not path.startswith(_NOT_CONTENT) and (path not in _NOT_LOGGED or value == "direct"):
            kept[path] = value
    return kept


def cells_of(
    names: Sequence[str],
    scale: str,
    seeds: Sequence[int],
    *,
    bases: Sequence[str] = (),
    variants: Sequence[str] = (),
    reachable: bool = False,
) -> list[Cell]:
    """Every cell of the studies, seed by seed, so that all variants have n seeds before any has n + 1.

    Raises:
        ConfigError: unknown scale, study, base or variant, or a study that this scale does not have.
    """
    if scale not in SCALES:
        raise ConfigError([Problem("scale", scale, f"unknown scale{suggestion(scale, SCALES)}")])
    chosen = [study(name) for name in names]
    problems = [
        Problem("study", item.name, f"has no cells at scale {scale!r}; it has {', '.join(item.bases)}")
        for item in chosen
        if scale not in item.bases
    ]
    problems += _unknown("base", bases, [base for item in chosen for base in item.bases.get(scale, ())])
    problems += _unknown("variant", variants, [variant.name for item in chosen for variant in item.variants])
    if problems:
        raise ConfigError(problems)
    found = [cell for item in chosen for cell in _cells(item, scale, seeds, bases, variants)]
    return [dataclasses.replace(cell, reachable=reachable) for cell in found]


def _cells(
    item: Study, scale: str, seeds: Sequence[int], bases: Sequence[str], variants: Sequence[str]
) -> Iterator[Cell]:
    for base in item.bases[scale]:
        for seed in seeds:
            for variant in item.variants:
                if (not bases or base in bases) and (not variants or variant.name in variants):
                    yield Cell(scale, item, base, variant, seed)


def _unknown(what: str, names: Sequence[str], known: Sequence[str]) -> list[Problem]:
    return [Problem(what, name, f"unknown {what}{suggestion(name, known)}") for name in names if name not in known]


def with_place(
    config: Config, *, source: str, root: str, device: str, threads: int, checkpoint_seconds: float
) -> Config:
    """The same settings with where images lie and work runs; ``source`` empty = the base's own."""
    data = dataclasses.replace(config.data, root=root, source=source or config.data.source)
    compute = dataclasses.replace(
        config.compute,
        device=device,  # type: ignore[arg-type]
        threads=threads,
        checkpoint_seconds=checkpoint_seconds,
    )
    return dataclasses.replace(config, data=data, compute=compute)

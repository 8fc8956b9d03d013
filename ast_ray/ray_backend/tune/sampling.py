"""From a checked space to what Tune samples: limited expert settings, grids, the preset's own values first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune.search.sample import Categorical, Domain, Function

from ast_ray.config.loading import flatten, to_dict
from ast_ray.config.settings import Config
from ast_ray.core.rng import stream_seed
from ast_ray.ray_backend.tune.domains import draw, holds, is_grid, plain
from ast_ray.search.trial import canonicalize

EXPERTS = "experts"
_MOST_DRAWS = 1000


class SpaceSampler:
    """The space that Tune samples, and the conversion of samples to overrides.

    With ``tune.buffers`` set, that many combinations of the space's expert settings are drawn beforehand and trials
    choose among them by number, so that the number of buffers to train is bounded.
    """

    def __init__(self, space: Mapping[str, Any], config: Config) -> None:
        self.constants = {
            path: value for path, value in space.items() if not (isinstance(value, Domain) or is_grid(value))
        }
        space = {path: domain for path, domain in space.items() if path not in self.constants}
        self.space = dict(space)
        self._preset = {path: value for path, value in flatten(to_dict(config)).items() if path in space}
        self.combinations = _combinations(space, config, self._preset)
        if self.combinations:
            self.space = {path: domain for path, domain in space.items() if path not in self.combinations[0]}
            self.space[EXPERTS] = tune.choice(list(range(len(self.combinations))))
        if config.tune.searcher == "grid":
            self.space = {path: _as_grid(domain) for path, domain in self.space.items()}

    def overrides(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """The settings a sample stands for."""
        values = {**self.constants, **{path: plain(value) for path, value in sample.items() if path != EXPERTS}}
        if EXPERTS in sample:
            values.update(self.combinations[int(sample[EXPERTS])])
        return values

    def sample_of(self, overrides: Mapping[str, Any], *, strict: bool = True) -> dict[str, Any] | None:
        """The sample that stands for overrides, or None when the space does not hold them.

        Without ``strict`` numbers may lie outside their domains, as perturbed ones do.
        """
        sample = {path: value for path, value in overrides.items() if path in self.space}
        if self.combinations:
            chosen = {path: overrides.get(path) for path in self.combinations[0]}
            if chosen not in self.combinations:
                return None
            sample[EXPERTS] = self.combinations.index(chosen)
        if set(sample) != set(self.space):
            return None
        outside = strict and not all(holds(domain, sample[path]) for path, domain in self.space.items())
        return None if outside else sample

    def preset_sample(self) -> dict[str, Any] | None:
        """The sample that stands for the settings the search starts from."""
        return self.sample_of(self._preset)

    def grid_size(self) -> int:
        """Configurations of a grid."""
        size = 1
        for domain in self.space.values():
            size *= len(domain["grid_search"]) if is_grid(domain) else 1
        return size


def _as_grid(domain: object) -> object:
    return tune.grid_search(list(domain.categories)) if isinstance(domain, Categorical) else domain


def _combinations(space: Mapping[str, Any], config: Config, preset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Distinct draws of the space's expert settings, the preset's own among them when the space holds it."""
    part = {path: domain for path, domain in space.items() if path.startswith("expert.")}
    searched = [domain for domain in part.values() if isinstance(domain, Domain) or is_grid(domain)]
    if not config.tune.buffers or not searched or any(isinstance(domain, Function) for domain in searched):
        return []
    found: list[dict[str, Any]] = []
    if config.tune.start_with_preset and all(holds(domain, preset[path]) for path, domain in part.items()):
        found.append({path: preset[path] for path in part})
    for number in range(_MOST_DRAWS):
        if len(found) == config.tune.buffers:
            break
        values = draw(part, seed=stream_seed(config.seed, "tune", "experts", number))
        if all(canonicalize(values, config) != canonicalize(other, config) for other in found):
            found.append(values)
    return found

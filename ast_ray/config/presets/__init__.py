"""Named configurations, each a function whose docstring gives the source of its values."""

from ast_ray.config.cost import Cost, cost
from ast_ray.config.datasets import DATASETS, DatasetFacts
from ast_ray.config.presets.automatic import automatic
from ast_ray.config.presets.published import paper_accuracy
from ast_ray.config.presets.registry import PRESETS, facts_of_preset, method_config, preset

__all__ = [
    "DATASETS",
    "PRESETS",
    "Cost",
    "DatasetFacts",
    "automatic",
    "cost",
    "facts_of_preset",
    "method_config",
    "paper_accuracy",
    "preset",
]

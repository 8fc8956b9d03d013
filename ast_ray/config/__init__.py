"""Settings: frozen typed dataclasses, their schema, validation, presets and fingerprints. No torch, no ray."""

from ast_ray.config.checks import check, problems_of
from ast_ray.config.identity import differences, expert_identity, fingerprint, method_identity
from ast_ray.config.loading import apply_overrides, from_dict, load_yaml, to_dict, to_yaml
from ast_ray.config.schema import Setting, schema
from ast_ray.config.settings import (
    Config,
    DataConfig,
    DistillConfig,
    EvaluateConfig,
    ExpertConfig,
    NetworkConfig,
    RunConfig,
)
from ast_ray.config.work_settings import ComputeConfig, TuneConfig

__all__ = [
    "ComputeConfig",
    "Config",
    "DataConfig",
    "DistillConfig",
    "EvaluateConfig",
    "ExpertConfig",
    "NetworkConfig",
    "RunConfig",
    "Setting",
    "TuneConfig",
    "apply_overrides",
    "check",
    "differences",
    "expert_identity",
    "fingerprint",
    "from_dict",
    "load_yaml",
    "method_identity",
    "problems_of",
    "schema",
    "to_dict",
    "to_yaml",
]

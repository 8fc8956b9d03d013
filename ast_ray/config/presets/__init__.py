"""Named configurations, each a function whose docstring gives the source of its values."""

from ast_ray.config.presets.registry import PRESETS, method_config, preset

__all__ = ["PRESETS", "method_config", "preset"]

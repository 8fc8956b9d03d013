"""Turn a method's name into the problem it solves.

A record of `config.methods.METHODS` names the module, which has ``open_problem``; it is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module

from ast_ray.config.methods import method_info
from ast_ray.core.methods.base import Problem, Sources


def open_problem(method: str, sources: Sources) -> Problem:
    """Return the problem of a method.

    Raises:
        ValueError: no such method, or sources that lack what it needs.
    """
    module = method_info(method).module
    problem: Problem = import_module(module if "." in module else f"ast_ray.core.methods.{module}").open_problem(
        sources
    )
    return problem

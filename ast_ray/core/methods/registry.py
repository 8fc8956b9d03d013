"""Turn a method's name into the problem it solves.

A record of `config.methods.METHODS` names the function that opens it; its module is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from ast_ray.config.methods import method_info
from ast_ray.core.methods.base import Problem, Sources


def open_problem(method: str, sources: Sources) -> Problem:
    """Return the problem of a method.

    Raises:
        ValueError: no such method, or sources that lack what it needs.
    """
    module, _, name = method_info(method).opens.partition(":")
    ours = f"{__package__}.{module}"
    found = import_module(ours if "." not in module and find_spec(ours) else module)
    problem: Problem = getattr(found, name or "open_problem")(sources)
    return problem

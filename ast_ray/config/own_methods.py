"""Methods outside of the package: modules that the environment names, whose import registers them.

``AST_RAY_METHODS=my_package.my_method`` names importable modules, joined by commas. Processes inherit the environment,
and `ray_backend.session` hands the variable to a cluster's workers, so that all know the same methods. A file never
adds to these names (docs/security.md).
"""

from __future__ import annotations

import os
from importlib import import_module

from ast_ray.errors import ConfigError, Problem

VARIABLE = "AST_RAY_METHODS"
"""The environment variable that names the modules."""


def load_own_methods() -> None:
    """Import the modules that `VARIABLE` names; those that are imported already cost nothing.

    Raises:
        ConfigError: a module cannot be imported, or its method's name is taken.
    """
    for name in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        try:
            import_module(name)
        except Exception as error:  # the module is the user's: anything can happen in it
            reason = f"cannot be imported ({type(error).__name__}: {error}); it has to be installed, or on PYTHONPATH"
            raise ConfigError([Problem(VARIABLE, name, reason)]) from error

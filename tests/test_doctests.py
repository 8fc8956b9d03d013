"""Examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import ast_ray.config
import ast_ray.core
import ast_ray.report

MODULES = [
    item.name
    for package in (ast_ray.config, ast_ray.core, ast_ray.report)
    for item in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]
WITH_EXAMPLES = {"ast_ray.core.bilevel.matching_loss", "ast_ray.core.methods.ast", "ast_ray.core.smoothness"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0 or name not in WITH_EXAMPLES


def test_modules_are_found():
    assert set(MODULES) >= WITH_EXAMPLES

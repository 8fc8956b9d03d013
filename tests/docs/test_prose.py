"""Rules of style that a program can check: docstrings name their subject, and assignments stand one to a line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ast_ray
from benchmarks.house import interrogative, parallel

PACKAGE = Path(ast_ray.__file__).parent
EXAMPLES = PACKAGE.parent / "examples"
MODULES = sorted([*PACKAGE.rglob("*.py"), *EXAMPLES.glob("*.py")])
LONGEST = 350


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE if PACKAGE in path.parents else PACKAGE.parent))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_keeps_the_rules(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert list(interrogative(tree)) == []
    assert list(parallel(tree)) == []
    assert len(text.splitlines()) <= LONGEST


def test_the_rules_find_what_breaks_them() -> None:
    tree = ast.parse('"""What it is."""\na, b, c = 1, 2, 3\nd, e = 4, 5\n')
    assert list(interrogative(tree)) == ["What it is."]
    assert list(parallel(tree)) == [2]

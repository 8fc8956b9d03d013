"""Rules of style that a program can check: docstrings name their subject, and assignments stand one to a line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ast_ray

PACKAGE = Path(ast_ray.__file__).parent
QUESTIONS = {"What", "Where", "Whether", "How", "Which", "Who", "Whose", "When", "Why"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
LONGEST = 350


def questions(tree: ast.Module) -> Iterator[str]:
    """Yield first lines that ask in place of saying."""
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
        if text and text.split()[0].rstrip(",:") in QUESTIONS:
            yield text.splitlines()[0]


def crowded(tree: ast.Module) -> Iterator[int]:
    """Yield lines that assign to more than two targets side by side."""
    for node in ast.walk(tree):
        assigned = node.targets if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple) else []
        if any(isinstance(target, ast.Tuple) and len(target.elts) > 2 for target in assigned):
            yield node.lineno


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_keeps_the_rules(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert list(questions(tree)) == []
    assert list(crowded(tree)) == []
    assert len(text.splitlines()) <= LONGEST


def test_the_rules_find_what_breaks_them() -> None:
    tree = ast.parse('"""What it is."""\na, b, c = 1, 2, 3\nd, e = 4, 5\n')
    assert list(questions(tree)) == ["What it is."]
    assert list(crowded(tree)) == [2]

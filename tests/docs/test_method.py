"""The table that leads from equations to code leads somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| .* \| `(ast_ray/[\w/]+\.py)` \| `([\w.]+)` \|$", re.MULTILINE)
ROWS = _ROW.findall((ROOT / "docs" / "method.md").read_text("utf-8"))


def names(tree: ast.Module) -> set[str]:
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return found


@pytest.mark.parametrize(("file", "name"), ROWS)
def test_the_function_is_there(file: str, name: str) -> None:
    assert name in names(ast.parse((ROOT / file).read_text("utf-8")))


def test_every_equation_of_the_method_has_a_row() -> None:
    text = (ROOT / "docs" / "method.md").read_text("utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    assert len(ROWS) == table.count("\n") - 1
    for wanted in ("Algorithm 1", "Algorithm 2", "Eq. 19", "Eq. 20", "Eq. 22", "Eq. 23", "Sec. V-F1"):
        assert wanted in table

"""The pages of the methods follow the package: records, equations with their functions, defaults, measured figures."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ast_ray.config import schema
from ast_ray.config.methods import METHODS, MethodInfo
from tests.docs.test_method import names

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "methods"
PAGES = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.md"))}
_ROW = re.compile(r"^\| .* \| `(ast_ray/[\w/]+\.py)` \| `([\w.]+)` \|$", re.MULTILINE)
_SETTING = re.compile(r"^\| `(\w+\.\w+)` \| `([^`]*)` \| .+ \|$", re.MULTILINE)
ROWS = [(page, *row) for page, text in PAGES.items() for row in _ROW.findall(text)]
SETTINGS = [row for text in PAGES.values() for row in _SETTING.findall(text)]
IN_THE_PACKAGE = [info for info in METHODS.values() if "." not in info.opens]


def record(info: MethodInfo) -> str:
    """The row of a method in the table of all methods."""
    learns = ["images", *["learning rate"] * info.learns_lr, *["soft labels"] * (info.target_loss == "mse")]
    needs = "experts" if info.needs_experts else "real images"
    cells = (f"`{info.name}`", info.title, info.family, needs, ", ".join(learns), info.paper)
    return f"| {' | '.join(cells)} |"


def test_the_table_has_the_record_of_every_method() -> None:
    lines = [line for line in PAGES["index"].splitlines() if line.startswith("| `")]
    assert lines == [record(info) for info in IN_THE_PACKAGE]


@pytest.mark.parametrize(("page", "file", "name"), ROWS)
def test_the_function_is_there(page: str, file: str, name: str) -> None:
    assert name in names(ast.parse((ROOT / file).read_text("utf-8"))), page


@pytest.mark.parametrize("page", [page for page in PAGES if page != "index"])
def test_every_row_with_a_file_was_read(page: str) -> None:
    lines = [line for line in PAGES[page].splitlines() if line.startswith("|") and "`ast_ray/" in line]
    assert len(_ROW.findall(PAGES[page])) == len(lines) > 5


@pytest.mark.parametrize("info", IN_THE_PACKAGE, ids=lambda info: info.name)
def test_a_page_explains_the_method(info: MethodInfo) -> None:
    """The page of its family names the paper, and the function that opens it."""
    text = PAGES[info.family.replace(" ", "-")]
    module, _, function = info.opens.partition(":")
    assert info.paper in text
    assert f"`ast_ray/core/methods/{module}.py` | `{function or 'open_problem'}` |" in text


def test_every_setting_of_a_method_has_its_default() -> None:
    sections = {info.section for info in IN_THE_PACKAGE} - {""}
    mine = {path: str(item.default) for path, item in schema().items() if path.partition(".")[0] in sections}
    assert len(SETTINGS) == len(mine)
    assert dict(SETTINGS) == mine

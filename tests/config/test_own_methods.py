"""Methods outside of the package: named by the environment alone, and refused in one message."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ast_ray.cli.main import main
from ast_ray.config import Config
from ast_ray.config.loading import from_dict
from ast_ray.config.methods import METHODS, method_info, register
from ast_ray.config.own_methods import VARIABLE, load_own_methods
from ast_ray.config.ownership import from_elsewhere, published
from ast_ray.core.methods.registry import open_problem
from ast_ray.errors import ConfigError

MODULE = """
import dataclasses
from ast_ray.config.methods import METHODS, register

register(dataclasses.replace(METHODS["dm"], name="{name}", opens="{opens}"))

def open_problem(sources):
    return sources
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules that can be imported; METHODS and the loaded modules are as before afterwards."""
    before, loaded = dict(METHODS), set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    METHODS.clear()
    METHODS.update(before)
    for name in set(sys.modules) - loaded:
        if name.startswith("own_"):
            del sys.modules[name]


def test_a_named_module_is_imported_and_opened(folder, monkeypatch):
    (folder / "own_one.py").write_text(MODULE.format(name="one", opens="own_one"))
    (folder / "own_two.py").write_text(MODULE.format(name="two", opens="own_two:open_problem"))
    monkeypatch.setenv(VARIABLE, "own_one, own_two,")
    load_own_methods()
    assert list(METHODS)[-2:] == ["one", "two"]
    assert [open_problem(name, folder) for name in ("one", "two")] == [folder, folder]


def test_a_worker_meets_a_method_by_its_name(folder, monkeypatch):
    (folder / "own_worker.py").write_text(MODULE.format(name="of-a-worker", opens="own_worker"))
    monkeypatch.setenv(VARIABLE, "own_worker")
    assert "of-a-worker" not in METHODS
    assert method_info("of-a-worker").opens == "own_worker"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'own_broken'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (MODULE.format(name="ast", opens="own_broken"), "ValueError: method 'ast' is there already"),
    ],
)
def test_a_module_that_cannot_be_used_is_told_in_one_message(folder, monkeypatch, text, reason):
    if text is not None:
        (folder / "own_broken.py").write_text(text)
    monkeypatch.setenv(VARIABLE, "own_broken")
    with pytest.raises(ConfigError, match=f"{VARIABLE} = 'own_broken': cannot be imported") as caught:
        load_own_methods()
    assert reason in str(caught.value)


@pytest.mark.parametrize("words", [["info", "."], ["info", ".", "--json"]])
def test_every_command_says_it_before_any_work(folder, words):
    done = CliRunner().invoke(main, words, env={VARIABLE: "own_nowhere"})
    assert done.exit_code == 2
    assert f"{VARIABLE} = 'own_nowhere': cannot be imported" in done.output


def test_a_module_may_be_run_and_imported(folder):
    first = dataclasses.replace(METHODS["dm"], name="twice", opens="own_twice", settings=lambda config: config)
    again = dataclasses.replace(first, settings=lambda config: config)
    register(first)
    register(again)
    assert METHODS["twice"] is again


def test_a_name_in_a_file_imports_nothing(folder, monkeypatch):
    """A module that lies ready under the name of a method is not imported on the word of a run directory or a set."""
    monkeypatch.delenv(VARIABLE, raising=False)
    (folder / "own_trap.py").write_text(f"open({str(folder / 'trace')!r}, 'w').close()")
    assert from_elsewhere({"run": {"methods": ["own_trap", "dm"]}}, {}).run.methods == ("dm",)
    assert from_elsewhere({"run": {"methods": ["own_trap"]}}, {}).run.methods == Config().run.methods
    assert from_elsewhere({"run": {"methods": []}}, {}).run.methods == ()
    with pytest.raises(ConfigError, match="own_trap"):
        from_dict({"run": {"methods": ["own_trap"]}})
    with pytest.raises(ValueError, match="unknown method"):
        method_info("own_trap")
    assert published({"run": {"methods": ["own_trap"]}}, "own_trap")
    assert "own_trap" not in sys.modules
    assert not (folder / "trace").exists()

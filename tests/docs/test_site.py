"""The site builds without a warning, and what it generates is complete; skipped without MkDocs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ast_ray.config import schema
from ast_ray.telemetry.glossary import METRICS

pytest.importorskip("mkdocs")
pytest.importorskip("material")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built strictly in a process of its own."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "NO_MKDOCS_2_WARNING": "1",
        "DISABLE_MKDOCS_2_WARNING": "true",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_there(site: Path) -> None:
    for name in (
        "index",
        "method",
        "methods/index",
        "methods/regression",
        "metrics",
        "architecture",
        "reference/settings",
        "reference/code",
        "how-to/look",
    ):
        assert (site / f"{name}.html").stat().st_size > 1000


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        sources = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', page.read_text("utf-8"))
        styles = re.findall(r'<link[^>]*rel="stylesheet"[^>]*href="([^"]+)"', page.read_text("utf-8"))
        assert [address for address in (*sources, *styles) if re.match(r"(https?:)?//", address)] == []


def test_every_setting_is_described(hooks: ModuleType) -> None:
    page = hooks.settings_page()
    for path, item in schema().items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{path}` |")]
        assert hooks.cell(item.doc) in row
    assert "≥ 0" in next(line for line in page.splitlines() if "`distill.rho`" in line)


def test_every_metric_is_explained(hooks: ModuleType) -> None:
    page = hooks.metrics_page()
    for metric in METRICS:
        section = page.partition(f"## `{metric.tag}`\n")[2].partition("\n## ")[0]
        assert metric.meaning in section
        assert metric.bad in section


def test_commands_and_paths(hooks: ModuleType) -> None:
    commands = hooks.commands_page()
    for name in ("run", "experts", "distill", "evaluate", "report", "tensorboard", "info", "presets list"):
        assert f"## `ast-ray {name}`" in commands
    assert "`--out`" in commands
    paths = hooks.run_directory_page()
    for path in ("config.yaml", "report.html", "distill/METHOD/snapshots", "distill/METHOD/outcome.json"):
        assert f"| `{path}` |" in paths


def test_measured_figures_come_from_the_rows_alone(hooks: ModuleType) -> None:
    row = {"study": "peers", "base": "c10", "variant": "DM", "diverged": None}
    row |= {"distillation": {"seconds": 30.4, "iterations": 300}}
    rows = [
        {**row, "seed": 0, "accuracy": {"convnet": {"strict": [0.9, 0.9]}}},
        {**row, "seed": 0, "accuracy": {"convnet": {"strict": [0.20, 0.22]}}},
        {**row, "seed": 1, "accuracy": {"convnet": {"strict": [0.23, 0.23]}}},
        {**row, "seed": 2, "diverged": "weights", "accuracy": {}},
        {**row, "seed": 0, "study": "methods", "accuracy": {"convnet": {"strict": [0.5]}}},
    ]
    lines = [line for line in hooks.measured(rows).splitlines() if line.startswith("|")]
    assert lines[2:] == ["| c10 | DM | 22.0 ± 1.4 | 2 | 300 | - | 30 |"]
    assert "is in the results file yet" in hooks.measured(rows[4:])
    assert hooks.on_page_markdown("no mark") == "no mark"
    assert hooks.MEASURED in (ROOT / "docs" / "methods" / "index.md").read_text("utf-8")


def test_code_is_described_from_docstrings(hooks: ModuleType) -> None:
    page = hooks.code_page()
    assert "### `ast_ray/core/methods/iteration.py`" in page
    summary = "Run one iteration: draw the units, differentiate them, average, update, advance."
    assert f"| `iterate(problem, state, map_units)` | {summary} |" in page
    assert "_update" not in page

"""Cells of the paper's tables give the same rows on Ray as in one process."""

from __future__ import annotations

from collections.abc import Callable

from ast_ray.ray_backend.executor import RayExecutor
from ast_ray.ray_backend.session import Capacity
from ast_ray.stages.executor import Executor, SerialExecutor
from ast_ray.telemetry.progress import Silent
from benchmarks.reproduce.cells import cells_of
from benchmarks.reproduce.driving import Place, run_cells
from benchmarks.reproduce.results import read_rows
from tests.benchmarks.reproduce.conftest import place, tiny_base

__all__ = ["place", "tiny_base"]  # fixtures


def test_ray_and_one_process_give_the_same_rows(
    tiny_base: str,
    place: Callable[..., Place],
    local_ray: None,
) -> None:
    cells = cells_of(["methods"], "cpu", [0], bases=[tiny_base], variants=["AST"])
    one_slot = Capacity(cpus=1, gpus=0, slots=1)  # every worker that starts costs seconds
    executors: dict[str, Executor] = {
        "serial": SerialExecutor(Silent()),
        "ray": RayExecutor(one_slot, Silent()),
    }
    rows = {}
    for name, executor in executors.items():
        assert run_cells(cells, place(name), executor, Silent()) == 1
        found = read_rows(place(name).results)
        rows[name] = {(row["variant"], row["cell"]): row["accuracy"] for row in found}
    assert rows["ray"] == rows["serial"]
    for path in (place("serial").work / "distilled").glob("*/synthetic.safetensors"):
        assert (place("ray").work / path.relative_to(place("serial").work)).read_bytes() == path.read_bytes()

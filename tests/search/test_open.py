"""The directory of a search: the same search goes on, another one is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ast_ray.errors import StoreError
from ast_ray.search.directory import SearchDirectory
from ast_ray.search.open import open_search
from tests.tiny import tiny_config, tiny_plan


def test_a_search_is_not_gone_on_with_on_images_that_changed_since(tmp_path: Path) -> None:
    plan = tiny_plan(tiny_config(tmp_path / "root"), tmp_path / "unused")
    directory = SearchDirectory(tmp_path / "search")
    open_search(plan.config, plan.data, directory, "SPACE = {}", ["ast-ray", "tune"])
    open_search(plan.config, plan.data, directory, "SPACE = {}", ["ast-ray", "tune"])
    manifest = directory.manifest.read_bytes()
    others = dataclasses.replace(plan.data, data_id="0123456789abcdef")
    with pytest.raises(StoreError, match=f"data.id: 0123456789abcdef here, {plan.data.data_id} there"):
        open_search(plan.config, others, directory, "SPACE = {}", ["ast-ray", "tune"])
    assert directory.manifest.read_bytes() == manifest

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from ast_ray.storage.export import FORMATS, export_set
from tests.storage.export.test_containers import CONFIG, make_set

HOSTILE = (
    "<script>alert(1)</script> [x](javascript:alert(2)) ![y](http://evil/z) | `code` *b* _i_\n# Heading\n---\n\x1b[31m"
)


def hostile_card(folder: Path) -> str:
    known = make_set()
    values = dict.fromkeys(CONFIG["evaluate"], HOSTILE)
    config = {"preset": HOSTILE, "seed": HOSTILE, "data": {"source": f"/home/me/{HOSTILE}"}, "evaluate": values}
    names = ("method", "iteration", "fingerprint", "data_id")
    harmful = dataclasses.replace(
        known,
        class_names=(HOSTILE, "a|b", "www.evil.example"),
        augmentation=HOSTILE,
        provenance={"config": config, **dict.fromkeys(names, HOSTILE)},
    )
    rows = [{"network": HOSTILE, "protocol": HOSTILE, "mean": 0.5, "std": 0.1, "n": 3}]
    return (export_set(harmful, folder, "hf", reported=rows) / "README.md").read_text(encoding="utf-8")


def test_no_text_of_a_set_becomes_markup(tmp_path: Path) -> None:
    _, front, text = hostile_card(tmp_path / "out").split("---\n", 2)
    assert yaml.safe_load(front)["task_categories"] == ["image-classification"]
    outside = [part for number, part in enumerate(text.split("`")) if number % 2 == 0]  # code shows what it holds
    for part in outside:
        assert "<" not in part
        assert "](" not in part.replace("\\](", "")
        assert "://" not in part.replace("\\://", "")
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("#")][1:] == [
        "## How to train",
        "## Accuracy on the real test set",
        "## Where it comes from",
    ]
    assert not any(line.startswith("---") for line in lines)
    (row,) = (line for line in lines if line.endswith("| 50.0 ± 10.0 | 3 |"))
    assert row.replace("\\|", "").count("|") == 5
    assert "\x1b" not in text
    assert "www\\.evil.example" in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("container", FORMATS)
def test_no_path_of_this_machine_is_handed_on(container: str, tmp_path: Path) -> None:
    known = make_set()
    config = {**CONFIG, "data": {"source": "/home/somebody/photos", "root": "/home/somebody/.cache"}}
    told = dataclasses.replace(known, provenance={**known.provenance, "config": config})
    folder = export_set(told, tmp_path / "out", container)
    assert json.loads((folder / "dataset.json").read_text())["provenance"]["config"]["data"] == {"source": "photos"}
    for path in folder.rglob("*"):
        assert path.is_dir() or b"somebody" not in path.read_bytes(), path
    if container == "hf":
        assert "# photos, distilled to 2 images per class" in (folder / "README.md").read_text()

"""Documents and their checksums: what was written is read, what is not what was written is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import pytest

from ast_ray.errors import StoreError
from ast_ray.storage.checksum import digest
from ast_ray.storage.containers.documents import CHECKSUM, parsed, read_document, sealed, unsealed, write_document
from tests.damage import changed_digits, flipped_bits
from tests.documents import content, rewrite

VALUES: Mapping[str, object] = {
    "mean": 0.5125,
    "rows": [{"n": 3, "seeds": [0, 1]}],
    "name": "ä",
    "std": None,
    "x": 1e-7,
}


class Document(TypedDict):
    mean: float
    name: str


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_document(tmp_path / "table.json", VALUES)
    return tmp_path / "table.json"


def test_what_is_written_is_read_without_the_checksum(path: Path) -> None:
    assert list(json.loads(path.read_text())) == [*VALUES, CHECKSUM]
    assert read_document(path, Document) == VALUES == content(path)
    rewrite(path, mean=0.25)
    assert read_document(path, Document) == {**VALUES, "mean": 0.25}


def test_a_document_of_an_earlier_version_has_none(path: Path) -> None:
    path.write_text(json.dumps(dict(VALUES)))
    assert read_document(path, Document) == VALUES


def test_spacing_and_order_are_no_damage(path: Path) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps(dict(sorted(found.items())), separators=(",", ":"), ensure_ascii=False))
    assert read_document(path, Document) == VALUES


def test_every_changed_digit_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for changed in changed_digits(whole):
        path.write_bytes(changed)
        with pytest.raises(StoreError, match=r"table\.json: damaged \(its checksum is wrong\); do this"):
            read_document(path, Document, hint="do this")


def test_a_flipped_bit_is_noticed_or_changes_nothing(path: Path) -> None:
    whole, refused = path.read_bytes(), 0
    for changed in flipped_bits(whole):
        path.write_bytes(changed)
        try:
            assert read_document(path, Document) == VALUES, changed
        except StoreError:
            refused += 1
    assert refused > 6 * len(whole)


def test_a_damaged_name_does_not_hide_the_checksum() -> None:
    found = sealed(VALUES)
    found["chacksum"] = found.pop(CHECKSUM)
    with pytest.raises(ValueError, match="the name of its checksum is damaged"):
        unsealed(found)


def test_keys_and_numbers_are_those_that_json_gives_back() -> None:
    odd: dict[str, object] = {"seeds": {10: 1, 9: 2}, "shape": (3, 8, 8), "loss": float("nan"), "count": 2**70}
    text = json.dumps(sealed(odd))
    assert unsealed(parsed(text, strict=False)).keys() == odd.keys()  # type: ignore[attr-defined]
    assert unsealed([1]) == [1]


def test_checksums_of_sets_and_checkpoints_are_those_of_earlier_versions() -> None:
    told = "2539b950702178a9e03f0859a3ddb474596d960c11d96892b2fddb233affdf9b"
    assert digest({}, {"b": [1, 2.5], "a": {"x": None}, "sha256": "left out"}) == told

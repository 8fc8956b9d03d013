"""Settings with a checksum in their first line: damage is told from content, and from what a person edited."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ast_ray.config import Config, load_yaml, to_dict, to_yaml
from ast_ray.config.text_seal import sealed_text, text_checksum, unsealed_text
from ast_ray.errors import ConfigError
from tests.damage import changed_digits, flipped_bits

TEXT = "seed: 7\ndistill:\n  step_img: 0.05\n"


def test_the_first_line_is_a_comment_and_is_left_out() -> None:
    sealed = sealed_text(TEXT)
    assert sealed.splitlines()[0].startswith("# checksum of the lines below: sha256:")
    assert unsealed_text(sealed) == TEXT
    assert yaml.safe_load(sealed) == yaml.safe_load(TEXT)


@pytest.mark.parametrize("edited", [TEXT, "seed: 8\n", "", "# a note\nseed: 7\n"])
def test_what_has_no_such_line_is_read_as_it_is(edited: str) -> None:
    assert unsealed_text(edited) == edited


def test_every_changed_digit_is_noticed() -> None:
    for changed in changed_digits(sealed_text(TEXT).encode()):
        with pytest.raises(ValueError, match=r"its first line, a checksum, does not fit; .* delete that line"):
            unsealed_text(changed.decode())


def test_a_file_cut_anywhere_is_noticed() -> None:
    sealed = sealed_text(TEXT)
    for length in range(sealed.index("\n") + 1, len(sealed)):
        with pytest.raises(ValueError, match="damaged or edited"):
            unsealed_text(sealed[:length])


def test_the_line_of_an_earlier_version_stands_last() -> None:
    sealed = f"{TEXT}# checksum of the lines above: {text_checksum(TEXT)}\n"
    assert unsealed_text(sealed) == TEXT
    with pytest.raises(ValueError, match="its last line, a checksum, does not fit"):
        unsealed_text(sealed.replace("7", "8"))


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path, whole = tmp_path / "config.yaml", sealed_text(TEXT).encode()
    path.write_bytes(whole)
    wanted, refused = load_yaml(path), 0
    for changed in flipped_bits(whole):
        path.write_bytes(changed)
        try:
            assert load_yaml(path) == wanted, changed
        except ConfigError:
            refused += 1
    assert refused > 6 * len(TEXT)


def test_an_edited_file_is_read_once_the_line_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(sealed_text(to_yaml(Config())))
    assert load_yaml(path) == Config()
    edited = path.read_text().replace("\nseed: 0\n", "\nseed: 5\n")
    assert edited != path.read_text()
    path.write_text(edited)
    with pytest.raises(ConfigError, match="damaged or edited"):
        load_yaml(path)
    path.write_text("".join(edited.splitlines(keepends=True)[1:]))
    assert to_dict(load_yaml(path)) == {**to_dict(Config()), "seed": 5}

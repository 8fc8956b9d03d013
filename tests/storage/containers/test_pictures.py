"""Pictures: their chunks' checksums are compared, so that no wrong pixel is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ast_ray.errors import StoreError
from ast_ray.storage.containers.pictures import read_picture
from tests.damage import flipped_bits


@pytest.mark.parametrize("channels", [1, 3])
def test_a_flipped_bit_is_noticed_or_changes_no_pixel(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, channels), np.uint8).squeeze()
    path = tmp_path / "iteration-000001.png"
    Image.fromarray(pixels).save(path)
    assert np.array_equal(read_picture(path), pixels)
    whole, refused = path.read_bytes(), 0
    for changed in flipped_bits(whole):
        path.write_bytes(changed)
        try:
            assert np.array_equal(read_picture(path), pixels), changed
        except StoreError:
            refused += 1
    path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    with pytest.raises(StoreError, match=r"iteration-000001\.png: not a readable picture"):
        read_picture(path)
    assert refused > 7 * (len(whole) - 12)  # all but the last chunk, which is empty

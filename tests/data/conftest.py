"""Small image trees, made by the tests in exactly the layouts the sources read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakePicture = Callable[..., Path]


@pytest.fixture(scope="session")
def make_picture() -> MakePicture:
    """Write one image of a colour (or of noise) and return its path."""

    def make(
        path: Path,
        *,
        size: tuple[int, int] = (16, 16),
        color: tuple[int, ...] | int | None = None,
        mode: str = "RGB",
        seed: int = 0,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if color is None:
            pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
            image = Image.fromarray(pixels).convert(mode)
        else:
            image = Image.new(mode, size, color)
        image.save(path)
        return path

    return make


@pytest.fixture
def pets(tmp_path: Path, make_picture: MakePicture) -> Path:
    """Three classes of ten images of mixed sizes and modes, without a test split."""
    root = tmp_path / "pets"
    for number, name in enumerate(("cat", "dog", "fish")):
        for index in range(10):
            mode = {3: "L", 5: "RGBA"}.get(index, "RGB")
            size = (16 + index, 20 + 2 * number)
            make_picture(root / name / f"{index}.png", size=size, mode=mode, seed=100 * number + index)
    return root

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from ast_ray.data.decode import DecodeJob, Target, decode_chunk, decode_image
from ast_ray.data.sources.chunks import ImageFiles
from ast_ray.errors import StoreError
from ast_ray.report.frames import read_sheet
from ast_ray.storage.containers.pictures import FORMATS, UNREADABLE, open_picture

TARGET = Target(8, 8, 3)
OTHERS = ("EPS", "PCX", "TGA", "ICO", "SGI", "JPEG2000", "DDS", "QOI", "SPIDER")


def saved(format: str) -> bytes:
    mode = "F" if format == "SPIDER" else "RGB"
    buffer = io.BytesIO()
    Image.new(mode, (16, 16), 7 if mode == "F" else (200, 10, 10)).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize("format", FORMATS)
def test_formats_on_the_list_are_decoded(format: str) -> None:
    assert decode_image(saved(format), TARGET).shape == (3, 8, 8)


def test_pictures_of_a_camera_with_two_in_a_file_are_jpeg() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))])
    assert decode_image(buffer.getvalue(), TARGET).shape == (3, 8, 8)


@pytest.mark.parametrize("format", OTHERS)
def test_other_formats_are_not_opened_whatever_their_names(format: str, tmp_path: Path) -> None:
    content = saved(format)
    with pytest.raises(UnidentifiedImageError):
        open_picture(content)
    (tmp_path / "x.png").write_bytes(content)
    result = decode_chunk(DecodeJob(0, ImageFiles(str(tmp_path), ("x.png",), (0,)), TARGET))
    assert [failure.reason for failure in result.failures] == ["not an image of a known format"]
    with pytest.raises(StoreError, match=r"x\.png: not a readable picture"):
        read_sheet(tmp_path / "x.png", (3, 16, 16))


def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **_: started.append(given))
    (tmp_path / "x.png").write_bytes(saved("EPS"))
    decode_chunk(DecodeJob(0, ImageFiles(str(tmp_path), ("x.png",), (0,)), TARGET))
    assert not started


@pytest.mark.parametrize("harm", [b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + b"\0" * 100])
def test_what_is_damaged_raises_what_readers_expect(harm: bytes, tmp_path: Path) -> None:
    with pytest.raises(UNREADABLE):
        open_picture(harm).load()
    (tmp_path / "x.png").write_bytes(harm)
    with pytest.raises(StoreError, match="not a readable picture"):
        read_sheet(tmp_path / "x.png", (3, 16, 16))


@pytest.mark.parametrize(("width", "told"), [(40000, "more than"), (4400, "4400x40000 px; more than")])
def test_a_picture_of_too_many_pixels_is_an_error_of_the_file(tmp_path: Path, width: int, told: str) -> None:
    """A header alone; the limit is met before any pixel is decoded."""
    (tmp_path / "x.ppm").write_bytes(b"P6 %d 40000 255\n" % width)
    header = b"IHDR" + struct.pack(">IIBBBBB", width, 40000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header) - 4) + header + struct.pack(">I", zlib.crc32(header))
    chunk += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "iteration-000001.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    result = decode_chunk(DecodeJob(0, ImageFiles(str(tmp_path), ("x.ppm",), (0,)), TARGET))
    assert re.search(f"{told} the 175 million pixels that are opened; save it smaller", result.failures[0].reason)
    with pytest.raises(StoreError, match="the 175 million pixels that are opened"):
        read_sheet(tmp_path / "iteration-000001.png", (3, 16, 16))


def test_a_large_picture_is_opened_without_a_warning() -> None:
    """Pillow warns from 89 million pixels on, and a warning is an error here."""
    with open_picture(b"P6 2500 40000 255\n") as picture:
        assert picture.size == (2500, 40000)

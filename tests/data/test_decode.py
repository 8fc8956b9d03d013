"""One image from bytes to pixels: modes, sizes, and what is collected instead of raised."""

from __future__ import annotations

import io
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ast_ray.config.settings import DataConfig
from ast_ray.data.decode import (
    DecodeJob,
    Probe,
    ProbeJob,
    Target,
    decode_chunk,
    decode_image,
    derived_target,
    probe_chunk,
)
from ast_ray.data.real import load_dataset
from ast_ray.data.sources.chunks import ImageFiles, pixel_chunks

RGB4 = Target(4, 4, 3)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_rgb_pixels_come_through_unchanged():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(pixels)), RGB4), pixels.transpose(2, 0, 1))


def test_grey_is_repeated_over_three_channels():
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(pixels)), RGB4), np.stack([pixels] * 3))


def test_transparency_lies_over_white():
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.putpixel((0, 0), (200, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 127))
    result = decode_image(encoded(image), RGB4)
    assert result[:, 0, 0].tolist() == [200, 0, 0]
    assert result[:, 3, 3].tolist() == [255, 255, 255]
    assert all(abs(int(value) - 128) <= 1 for value in result[:, 0, 1])


def test_a_transparent_palette_lies_over_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30] + [0, 0, 0] * 255)
    opaque, clear = encoded(image), encoded(image, transparency=0)
    assert decode_image(opaque, RGB4)[:, 0, 0].tolist() == [10, 20, 30]
    assert decode_image(clear, RGB4)[:, 0, 0].tolist() == [255, 255, 255]


def test_sixteen_bits_are_scaled_not_clipped():
    pixels = np.array([[0, 257, 32896, 65535]] * 4, np.uint16)
    result = decode_image(encoded(Image.fromarray(pixels)), Target(4, 4, 1))
    assert result[0, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("white", "told"),
    [
        (4095, "largest value of 6 16-bit images is 4095 of 65535, so that they become nearly black: 16 of 256 levels"),
        (20000, None),
    ],
)
def test_a_cameras_bits_in_sixteen_are_warned_of_once(tmp_path: Path, white: int, told: str | None):
    for number in range(6):
        path = tmp_path / "scans" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array([[0, white if number == 3 else 1000]] * 2, np.uint16)).save(path)
    found = load_dataset(DataConfig(source=str(tmp_path / "scans"), root=str(tmp_path)))[1]
    assert len(found.warnings) == (told is not None)
    if told:
        assert told in found.warnings[0]
        assert "if white is 4095 in them, save them multiplied by 16" in found.warnings[0]


def tiff(values: np.ndarray) -> bytes:
    """An uncompressed TIFF of one grey channel [H, W], with the sample format that its type says."""
    height, width = values.shape
    content = values.tobytes()
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = [(256, width), (257, height), (258, 8 * values.itemsize), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, height), (279, len(content)), (339, kind)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(content))
    return head + content + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kind", "white"), [("u1", 255), ("<u2", 65535), (">u2", 65535), ("<f4", 1)])
def test_deep_grey_is_scaled_by_the_range_of_its_type(kind: str, white: int, channels: int):
    ramp = np.linspace(0, 1, 16).reshape(4, 4)
    stored = (ramp * white).astype(kind)
    content = tiff(stored.astype(stored.dtype.newbyteorder("<")))
    if kind == ">u2":
        content = encoded(Image.fromarray(stored.astype("<u2")), "PPM")  # big-endian, opened as 32-bit numbers
    result = decode_image(content, Target(4, 4, channels))
    assert np.abs(result.astype(int) - np.round(ramp * 255).astype(int)).max() <= 1
    assert result.max() == 255


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([[0, 1.5]] * 2, "<f4"), "grey floats from 0 to 1.5; expected 0 to 1"),
        (np.array([[-0.5, 1]] * 2, "<f4"), "grey floats from -0.5 to 1; expected 0 to 1"),
        (np.array([[0, np.nan]] * 2, "<f4"), "grey floats from nan to nan; expected 0 to 1"),
        (np.array([[0, 255]] * 2, "<i4"), "whole numbers of 32 bits or with a sign"),
        (np.array([[0, 2**32 - 1]] * 2, "<u4"), "whole numbers of 32 bits or with a sign"),
        (np.array([[-1, 255]] * 2, "<i2"), "whole numbers of 32 bits or with a sign"),
    ],
)
def test_grey_whose_white_is_not_known_is_refused_by_name(tmp_path: Path, values: np.ndarray, reason: str):
    (tmp_path / "a.tif").write_bytes(tiff(values))
    chunk = ImageFiles(str(tmp_path), ("a.tif",), (0,))
    for channels in (1, 3):
        decoded = decode_chunk(DecodeJob(0, chunk, Target(4, 4, channels)))
        assert decoded.labels == ()
        assert [(failure.name, reason in failure.reason) for failure in decoded.failures] == [("a.tif", True)]


def test_a_transparent_value_of_sixteen_bits_lies_over_white():
    pixels = np.array([[0, 257, 32896, 65535]] * 4, np.uint16)
    result = decode_image(encoded(Image.fromarray(pixels), transparency=257), Target(4, 4, 1))
    assert result[0, 0].tolist() == [0, 255, 128, 255]


def test_camera_rotation_is_applied():
    image = Image.new("RGB", (4, 4), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated: the top left pixel belongs at the top right
    result = decode_image(encoded(image, exif=exif), RGB4)
    assert result[0, 0, 3] == 255
    assert result[0, 0, 0] == 0


def test_crop_takes_the_centre_and_stretch_the_whole():
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, 4:8] = 255
    content = encoded(Image.fromarray(pixels))
    assert (decode_image(content, Target(4, 4, 3, "crop")) == 255).all()
    stretched = decode_image(content, Target(4, 4, 3, "stretch"))
    assert stretched[0, 0, 0] < 60
    assert stretched[0, 0, 3] < 60


def test_failures_are_collected_with_their_names(tmp_path: Path, make_picture):
    make_picture(tmp_path / "a.png", color=(1, 2, 3))
    (tmp_path / "b.png").write_bytes(b"not an image at all")
    whole = make_picture(tmp_path / "c.png").read_bytes()
    (tmp_path / "c.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d.png").write_bytes(b"")
    chunk = ImageFiles(str(tmp_path), ("a.png", "b.png", "c.png", "d.png", "missing.png", "a.png"), (0, 1, 2, 3, 4, 5))
    result = decode_chunk(DecodeJob(0, chunk, RGB4))
    assert result.labels == (0, 5)
    assert result.pixels.shape == (2, 3, 4, 4)
    assert result.pixels[1, :, 0, 0].tolist() == [1, 2, 3]
    assert [failure.name for failure in result.failures] == ["b.png", "c.png", "d.png", "missing.png"]
    assert result.failures[0].reason == "not an image of a known format"
    assert "no such file" in result.failures[3].reason


def test_arrays_go_the_same_way():
    (chunk,) = pixel_chunks(np.full((2, 8, 8), 7, np.uint8), [1, 0])
    result = decode_chunk(DecodeJob(0, chunk, Target(4, 4, 3)))
    assert result.labels == (1, 0)
    assert (result.pixels == 7).all()
    assert result.pixels.shape == (2, 3, 4, 4)


def test_headers_tell_sizes_and_modes(tmp_path: Path, make_picture):
    make_picture(tmp_path / "a.png", size=(8, 6), mode="L")
    make_picture(tmp_path / "b.png", size=(8, 6), mode="RGBA")
    (tmp_path / "c.png").write_bytes(b"")
    seen = probe_chunk(ProbeJob(0, ImageFiles(str(tmp_path), ("a.png", "b.png", "c.png"), (0, 0, 0))))
    assert seen == Probe(Counter({(8, 6): 2}), grey=1, alpha=1)
    assert (seen + seen).images == 4


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({(28, 28): 5}, (28, 28)),
        ({(40, 20): 5}, (20, 40)),
        ({(500, 375): 5}, (128, 128)),
        ({(130, 130): 1, (60, 90): 5}, (32, 32)),
        ({(200, 64): 1, (65, 64): 5, (10, 10): 2}, (64, 64)),
        ({(5, 9): 2, (6, 6): 1}, (5, 5)),
    ],
)
def test_derived_size(sizes, expected):
    target = derived_target(Probe(Counter(sizes)), image_size=0, channels="auto", resize="crop")
    assert (target.height, target.width) == expected


def test_channels_are_grey_only_when_every_image_is():
    def channels(grey: int, wanted: str = "auto") -> int:
        seen = Probe(Counter({(8, 8): 4}), grey=grey)
        return derived_target(seen, image_size=0, channels=wanted, resize="crop").channels

    assert [channels(4), channels(3), channels(4, "rgb"), channels(0, "grey")] == [1, 3, 3, 1]

"""What is no regular file is refused before it is opened, and a parser's error is one line."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ast_ray.config.files import file_problem, reason
from ast_ray.errors import AstRayError, DataError, StoreError
from ast_ray.storage.containers.documents import read_document
from ast_ray.storage.containers.numpy_files import read_npy, read_npz
from ast_ray.storage.containers.opening import parsing
from ast_ray.storage.containers.parquet_files import open_parquet
from ast_ray.storage.containers.pictures import read_picture
from ast_ray.storage.containers.tensors import read_tensors
from ast_ray.storage.containers.torch_files import read_pt


def _parquet(path: Path) -> None:
    with open_parquet(path):
        raise AssertionError("opened")


READERS: dict[str, Callable[[Path], object]] = {
    "document": lambda path: read_document(path, dict[str, str]),
    "tensors": read_tensors,
    "parquet": _parquet,
    "npz": read_npz,
    "npy": read_npy,
    "pt": read_pt,
    "picture": read_picture,
}


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Paths that are no files, by kind, and what is said of them."""
    for name in ("pipe", "dangling", "circle", "socket"):
        assert not (tmp_path / name).exists()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "folder").mkdir()
    return {
        "pipe": (tmp_path / "pipe", "a pipe, not a file"),
        "device": (Path("/dev/zero"), "a device, not a file"),
        "dangling": (tmp_path / "dangling", "a link to .*gone, where nothing is"),
        "circle": (tmp_path / "circle", "links that lead in a circle"),
        "folder": (tmp_path / "folder", "a folder, not a file"),
        "null": (tmp_path / "a\0b", "null character"),
        "long": (tmp_path / ("x" * 300), "cannot be read: File name too long"),
    }


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "dangling", "circle", "folder"])
def test_what_is_no_file_is_refused_unopened(odd: dict[str, tuple[Path, str]], reader: str, kind: str) -> None:
    path, told = odd[kind]
    with pytest.raises(StoreError, match=told):
        READERS[reader](path)


def test_every_kind_is_told(odd: dict[str, tuple[Path, str]], tmp_path: Path) -> None:
    for path, told in odd.values():
        assert re.search(told, file_problem(path)), path
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert file_problem(tmp_path / "file") == file_problem(tmp_path / "link") == ""
    assert file_problem(tmp_path / "none") == "no such file"
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)
        server.bind("s")
        assert file_problem(Path("s")) == "a socket, not a file"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"plain text\n",
        b"PK\3\4",
        b"PK\5\6" + bytes(18),
        b"PAR1PAR1",
        b"\x93NUMPY\1\0\xff\xff{",
        b"[" * 9999,
        b"\xff" * 64,
        b"\x80\4N.",
        b"8" * 5000,
    ],
)
def test_whatever_a_parser_raises_is_one_error(tmp_path: Path, reader: str, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        READERS[reader](path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    for advice in ("allow_pickle", "weights_only", "trust"):
        assert advice not in text.lower()


def test_errors_of_ours_pass_and_the_class_is_the_caller_s() -> None:
    with (
        pytest.raises(DataError, match=r"x: cannot be decoded \(KeyError: 'a'\); delete it"),
        parsing(Path("x"), DataError, told="cannot be decoded", hint="delete it"),
    ):
        raise KeyError("a")
    with pytest.raises(AstRayError, match=r"^ours$"), parsing(Path("x"), DataError):
        raise AstRayError("ours")
    with pytest.raises(KeyboardInterrupt), parsing(Path("x"), DataError):
        raise KeyboardInterrupt


def test_a_reason_is_short_and_gives_no_unsafe_advice() -> None:
    assert reason(ValueError("one\ntwo")) == "one"
    assert reason(ValueError()) == "ValueError"
    assert reason(OSError(2, "No such file or directory")) == "No such file or directory"
    assert len(reason(ValueError("x" * 999))) == 200
    with pytest.raises(ValueError) as caught:
        np.load(Path(__file__), allow_pickle=False)
    assert reason(caught.value) == "it holds more than plain values, refused"


def test_an_archive_larger_than_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(2**20))
    assert read_npz(tmp_path / "x.npz")["x"].shape == (2**20,)
    monkeypatch.setattr(os, "sysconf", lambda name: 1024)
    with pytest.raises(StoreError, match="unpacked it takes"):
        read_npz(tmp_path / "x.npz")


def test_warnings_of_old_torch_files_are_not_shown(tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(read_pt(tmp_path / "x.pt"), torch.ones(3))  # type: ignore[arg-type]

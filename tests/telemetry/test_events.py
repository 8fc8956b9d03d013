from __future__ import annotations

from pathlib import Path

import pytest

from ast_ray.errors import ResourceError
from ast_ray.telemetry.events import events


def write(folder: Path, scalars: int = 0, text: str = "", error: Exception | None = None) -> None:
    with events(folder) as writer:
        for number in range(scalars):
            writer.add_scalar("x", number, number)
        writer.add_text("x", text)
        if error is not None:
            raise error


def test_a_full_disk_is_one_error_and_no_thread_prints_a_trace(
    tmp_path: Path, small_files: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ResourceError, match=rf"cannot write {tmp_path}/board: .*; free space"):
        write(tmp_path / "board", scalars=5000)
    assert capfd.readouterr().err == ""


def test_what_does_not_fit_at_the_end_is_told_too(tmp_path: Path, small_files: int) -> None:
    with pytest.raises(ResourceError, match="free space"):
        write(tmp_path / "board", text="y" * 10**5)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"cannot write .*file/board: Not a directory"):
        write(tmp_path / "file" / "board")


def test_an_error_of_the_block_passes(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write(tmp_path, scalars=1, error=ZeroDivisionError())
    assert len(list(tmp_path.iterdir())) == 1

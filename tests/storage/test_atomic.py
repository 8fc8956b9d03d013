from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ast_ray.errors import ResourceError
from ast_ray.storage.atomic import atomic_path, write_json, write_text
from tests.tiny import subprocess_environment

KILLED = """
import os, signal, sys
from pathlib import Path
from ast_ray.storage.atomic import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def write_half(target: Path) -> None:
    """Fail in the middle."""
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def test_the_file_appears_under_its_name_only_after_the_block(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.suffix == ".txt"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_text(target, "old")
    with pytest.raises(ZeroDivisionError):
        write_half(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    target = tmp_path / "expert-00000.parquet"
    command = [sys.executable, "-c", KILLED, str(target)]
    done = subprocess.run(command, env=subprocess_environment(), check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    assert [file.name for file in tmp_path.glob("expert-*")] == []
    write_text(target, "second attempt")
    assert target.read_text() == "second attempt"


def test_published_files_can_be_read_by_others(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "x")
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where the folder should be")
    with pytest.raises(ResourceError, match="blocked"):
        write_text(tmp_path / "blocked" / "file.txt", "x")


def test_a_full_disk_is_a_resource_error_and_leaves_nothing(tmp_path: Path, small_files: int) -> None:
    with pytest.raises(ResourceError, match=r"cannot write .*big\.txt"):
        write_text(tmp_path / "big.txt", "x" * 2 * small_files)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_tensors_are_saved(tmp_path: Path, small_files: int) -> None:
    import torch

    from ast_ray.storage.checkpoint import Checkpoint, write_checkpoint

    with pytest.raises(ResourceError, match=r"cannot write .*checkpoint\.safetensors"):
        write_checkpoint(tmp_path / "checkpoint.safetensors", Checkpoint("f", {"x": torch.zeros(small_files)}, {}))
    assert list(tmp_path.iterdir()) == []


def test_json_refuses_what_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()
    write_json(tmp_path / "x.json", {"a": [1, None]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, None]}


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o077, 0o600, 0o700), (0o002, 0o664, 0o775), (0o777, 0o600, 0o700)]
)
def test_the_umask_decides_who_may_read(tmp_path: Path, umask: int, file: int, folder: int) -> None:
    """Pictures of patients under 077, a store of experts that a group shares under 002."""
    code = """
import sys
from pathlib import Path
from ast_ray.storage.atomic import write_text
from ast_ray.storage.export.folder import describe, whole_folder
write_text(Path(sys.argv[1], "page.html"), "x")
with whole_folder(Path(sys.argv[1], "export")) as inside:
    describe(inside, "npz", {})
"""
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=subprocess_environment(), umask=umask, check=True, timeout=120
    )
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == file
    assert (tmp_path / "export").stat().st_mode & 0o777 == folder
    assert (tmp_path / "export" / "dataset.json").stat().st_mode & 0o777 == file

"""A run directory from a stranger runs no code when it is opened, and no secret of ours gets into one."""

from __future__ import annotations

import ast
import io
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import ast_ray
from ast_ray.cli.main import main
from ast_ray.config import Config
from ast_ray.errors import AstRayError
from ast_ray.report.records import read_run
from ast_ray.stages.run.open import record_run
from ast_ray.stages.run.pipeline import Plan
from ast_ray.storage.checkpoint import read_checkpoint
from ast_ray.storage.export.foreign import read_arrays
from ast_ray.storage.synthetic import load_synthetic
from ast_ray.storage.trajectory import read_metadata
from tests.tiny import arguments, serial_run, subprocess_environment

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "ast_ray").rglob("*.py"), *(ROOT / "tune_spaces").rglob("*.py")])
_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "_pickle"}
_CALLS = {"eval", "exec", "compile", "__import__", "os.system"}
_CALLS |= {f"yaml.{name}" for name in ("load", "safe_load", "unsafe_load", "full_load")}  # config/yaml_reader reads it


def name_of(node: ast.expr) -> str:
    """``torch.load`` for the expression torch.load; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def dangers(tree: ast.Module) -> Iterator[str]:
    """Whatever can turn a file's content into running code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names if item.name.partition(".")[0] in _MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in _MODULES:
            yield f"from {node.module}"
        elif isinstance(node, ast.Call):
            name = name_of(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in _CALLS or name.rpartition(".")[2] in ("read_pickle", "to_pickle", "unpickle"):
                yield name
            if name == "torch.load" and given.get("weights_only") != "True":
                yield "torch.load without weights_only=True"
            if given.get("allow_pickle", "False") != "False" or given.get("shell", "False") != "False":
                yield f"{name}({', '.join(sorted(given))})"
            if name == "np.load" and "allow_pickle" not in given:
                yield "np.load without allow_pickle=False"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    assert not list(dangers(ast.parse(path.read_text("utf-8"))))


def test_pictures_and_yaml_have_one_opener_each() -> None:
    for name, place in (("Image.open", "pictures.py"), ("safe_load", ""), ("SafeLoader", "yaml_reader.py")):
        assert [path.name for path in SOURCES if name in path.read_text("utf-8")] == ([place] if place else [])


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "eval(text)",
        "pd.read_pickle(path)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_a_danger_would_be_noticed(line: str) -> None:
    assert list(dangers(ast.parse(line)))


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return (io.open, (str(self.trace), "w"))


@pytest.fixture
def bomb(tmp_path: Path) -> tuple[bytes, Path]:
    """A pickle that runs code, and the file that shows that it did."""
    trace = tmp_path / "trace"
    content = pickle.dumps(Bomb(trace))
    pickle.loads(content).close()
    assert trace.exists()  # the bomb works
    trace.unlink()
    return content, trace


@pytest.fixture(scope="module")
def plan(tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = serial_run(tiny(run__methods="ast", run__baselines="random"), tmp_path_factory.mktemp("run"))
    record_run(plan, ["ast-ray", "run"])
    read_run(plan.directory.path)
    return plan


def test_a_pickle_under_the_name_of_an_artefact_is_refused(bomb: tuple[bytes, Path], tmp_path: Path) -> None:
    content, trace = bomb
    readers: dict[str, Callable[[Path], object]] = {
        "synthetic.safetensors": load_synthetic,
        "checkpoint.safetensors": lambda path: read_checkpoint(path, "any"),
        "expert-00000.parquet": read_metadata,
        "synthetic.npz": ast_ray.load,
        "synthetic.pt": ast_ray.load,
        "train-00000-of-00001.parquet": ast_ray.load,
        "images.npy": read_arrays,
        "images.pth": read_arrays,
    }
    for name, read in readers.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AstRayError):
            read(tmp_path / name)
        assert not trace.exists(), name


def test_objects_in_an_archive_are_refused(bomb: tuple[bytes, Path], tmp_path: Path) -> None:
    _, trace = bomb
    np.savez(tmp_path / "synthetic.npz", images=np.array([Bomb(trace)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "synthetic.pt", "w") as archive:
        archive.writestr("archive/data.pkl", bomb[0])
        archive.writestr("archive/version", "3")
    for name in ("synthetic.npz", "synthetic.pt"):
        for read in (ast_ray.load, read_arrays):
            with pytest.raises(AstRayError):
                read(tmp_path / name)
    assert not trace.exists()


def test_a_run_made_of_pickles_is_opened_without_harm(bomb: tuple[bytes, Path], plan: Plan, tmp_path: Path) -> None:
    """Every file of a run in turn, and YAML that asks for an object; reports say so or leave the part out."""
    content, trace = bomb
    evil = f"!!python/object/apply:os.system ['touch {trace}']\n".encode()
    names = sorted({path.relative_to(plan.directory.path) for path in plan.directory.path.rglob("*") if path.is_file()})
    assert len(names) > 10
    refused: dict[str, str] = {}
    for place in names:
        shutil.copytree(plan.directory.path, tmp_path / "copy")
        (tmp_path / "copy" / place).write_bytes(evil if place.suffix == ".yaml" else content)
        try:
            read_run(tmp_path / "copy")
        except AstRayError as error:
            refused[place.name] = str(error)
        assert not trace.exists(), place
        shutil.rmtree(tmp_path / "copy")
    assert refused
    assert {name: reason for name, reason in refused.items() if name not in reason} == {}


_SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED0000000001",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-0000000002",
    "AWS_SESSION_TOKEN": "planted-session-0000000003",
    "HF_TOKEN": "hf_planted0000000004",
    "RAY_AUTH_TOKEN": "planted-ray-token-00000000000005",
}
_COMMANDS = """
import sys
from ast_ray.cli.main import main

for words in {commands!r}:
    try:
        main(words, standalone_mode=False)
    except SystemExit as end:
        assert not end.code, words
"""


@pytest.mark.ray
def test_no_secret_of_the_environment_is_written(root: Path, tmp_path: Path) -> None:
    """Search every byte that a run on Ray, its report and its export write or print."""
    out, home = tmp_path / "out", tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/credentials").write_text("[default]\naws_secret_access_key = planted-file-0000000006\n", "utf-8")
    few = {"run.methods": "ast", "run.baselines": "random", "compute.backend": "ray", "compute.workers": 1}
    commands = [
        ["run", *arguments(root, few), "--out", str(out)],
        ["report", str(out)],
        ["export", str(out / "distill/ast"), "--format", "all"],
    ]
    clean = {name: value for name, value in subprocess_environment().items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {**clean, **_SECRETS, "HOME": str(home), "RAY_TMPDIR": folder}
        done = subprocess.run(
            [sys.executable, "-c", _COMMANDS.format(commands=commands)], env=environment, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        session = _bytes(Path(folder))
        assert len(session) > 10  # Ray's own logs of the session
        written = {**_bytes(out), **session, "stdout": done.stdout, "stderr": done.stderr}
    assert "results.json" in "".join(written)
    assert "report.html" in "".join(written)
    planted = [value.encode() for value in (*_SECRETS.values(), "planted-file-0000000006")]
    leaks = [(name, secret) for name, content in written.items() for secret in planted if secret in content]
    assert not leaks


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return {str(path): path.read_bytes() for path in files if path.is_file() and not path.is_symlink()}


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--preset", "digits", "--out", "s3://AKIA:planted-secret@bucket/run"],
        ["run", "--preset", "digits", "--out", "s3://bucket/run?secret_key=planted-secret"],
        ["run", "--preset", "digits", "--store", "s3://AKIA:planted-secret@bucket/store"],
        ["report", "s3://AKIA:planted-secret@bucket/run"],
        ["submit", "--address", "http://user:planted-secret@127.0.0.1:8265", "--resume", "any"],
        ["submit", "run", "--preset", "digits", "--out", "s3://AKIA:planted-secret@bucket/run"],
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 2, found.output
    assert "planted-secret" not in found.output
    assert "nvironment" in found.output  # where it belongs
    assert not list(tmp_path.rglob("*"))

"""Fixtures every layer may use: one torch thread, tiny networks and images, the CIFAR-10 folder where there is one."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ast_ray.config.settings import Config, NetworkConfig
from ast_ray.core.networks import Network, build
from ast_ray.core.rng import stream
from ast_ray.storage import lease, mirror
from ast_ray.storage import object_store as remote
from tests.object_store import CREDENTIALS, ObjectStore, running
from tests.tiny import largest_file, tiny_config

MakeNetwork = Callable[..., Network]
MakeImages = Callable[..., tuple[Tensor, Tensor]]
MakePicture = Callable[..., Path]


class _Reports:
    """Show a failure when it happens, since a run that dies on the way prints no summary; refuse skips in CI.

    With ``AST_RAY_SKIPS=gpu`` a run fails when it skips anything but what needs a GPU.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager
        self._skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._plugins.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.write_line(f"\n{report.nodeid} ({report.when})\n{report.longreprtext}")
        if report.skipped:
            self._note(report.nodeid, report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report.nodeid, report.longrepr)

    def _note(self, test: str, reason: object) -> None:
        text = str(reason[2] if isinstance(reason, tuple) else reason)
        if os.environ.get("AST_RAY_SKIPS") == "gpu" and "GPU" not in text:
            self._skipped.append(f"{test}: {text}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        terminal = self._plugins.get_plugin("terminalreporter")
        if self._skipped and terminal is not None:
            terminal.write_line("\nskipped, and only what needs a GPU may be:\n" + "\n".join(self._skipped))
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Reports(config))


_WITH_A_RAY_OF_ITS_OWN = ("tests/ray_backend", "tests/failure")


def _group(test: str) -> str:
    """Return what a test shares a process with: a Ray, else its file."""
    return next((folder for folder in _WITH_A_RAY_OF_ITS_OWN if test.startswith(folder)), test.partition("::")[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what has a Ray, which takes longest; end with tests that end every Ray of the machine."""

    def place(item: pytest.Item) -> tuple[bool, bool]:
        return item.get_closest_marker("alone") is not None, not item.nodeid.startswith(_WITH_A_RAY_OF_ITS_OWN)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a group in one process, groups in the order of the tests."""
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Grouped(config, log)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Take signals as from a terminal: background jobs and `nohup` hand ignored ones on to every child."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def cifar10_folder() -> Path:
    """All of CIFAR-10 as Parquet shards; the test is skipped where it is missing."""
    named = os.environ.get("AST_RAY_CIFAR10")
    beside = [folder / "shared/data/cifar10" for folder in Path(__file__).resolve().parents]
    places = [Path(named)] if named else beside
    for place in places:
        if place.is_dir():
            return place
    pytest.skip("no CIFAR-10 Parquet folder (set AST_RAY_CIFAR10)")


@pytest.fixture(scope="session")
def make_network() -> MakeNetwork:
    """A ConvNet for 8x8 images, width 4, seeded; float64 unless told otherwise."""

    def make(
        *,
        shape: tuple[int, int, int] = (3, 8, 8),
        classes: int = 3,
        width: int = 4,
        depth: int = 1,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Network:
        network = build(NetworkConfig(width=width, depth=depth), shape, classes, stream(seed, "test", "network"))
        return network.to(dtype)

    return make


@pytest.fixture(scope="session")
def make_images() -> MakeImages:
    """Images [classes*per_class, C, H, W], normal with a mean per class, and their labels, class by class."""

    def make(
        *,
        per_class: int = 2,
        classes: int = 3,
        shape: tuple[int, int, int] = (3, 8, 8),
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> tuple[Tensor, Tensor]:
        generator = stream(seed, "test", "images")
        labels = torch.arange(classes).repeat_interleave(per_class)
        means = torch.randn(classes, *shape, generator=generator, dtype=torch.float64)
        noise = torch.randn(len(labels), *shape, generator=generator, dtype=torch.float64)
        return (means[labels] + 0.5 * noise).to(dtype), labels

    return make


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


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache of decoded images."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="session")
def tiny(root: Path) -> Callable[..., Config]:
    """Build a tiny configuration; keyword names use __ for the dot."""

    def make(**overrides: object) -> Config:
        return tiny_config(root, {name.replace("__", "."): value for name, value in overrides.items()})

    return make


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectStore]:
    """One S3 server for all tests that need one."""
    pytest.importorskip("moto", reason="needs moto's S3 server")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with running() as store:
            yield store


@pytest.fixture
def object_store(object_server: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """The server without faults; mirrors in a fresh folder, short pauses between attempts."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AST_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PATIENCE", remote.Patience(attempts=6, first=0.01, longest=0.05))
    monkeypatch.setattr(lease, "SETTLE", 0.02)
    mirror._checked.clear()
    yield object_server
    object_server.faults()


@pytest.fixture
def small_files() -> Iterator[int]:
    """No file may grow past 64 KiB, as on a full disk."""
    with largest_file(2**16):
        yield 2**16


@pytest.fixture
def compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code goes where the next test run finds it; without a compiler the test is skipped."""
    if not any(shutil.which(name) for name in ("g++", "clang++")):
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / "ast-ray-tests-compiled"))

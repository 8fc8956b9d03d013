"""``ast-ray tensorboard RUN``: the curves of a run in the browser."""

from __future__ import annotations

import threading
from pathlib import Path

import click

from ast_ray.cli.errors import reported
from ast_ray.cli.terminal import Terminal, echo
from ast_ray.errors import ResourceError, StoreError
from ast_ray.storage.folder import Folder
from ast_ray.storage.run_directory import RunDirectory

_LOOPBACK = "127.0.0.1"
_REFRESH = 30.0  # seconds between looks for new events, where the run is an address


@click.command()
@click.argument("run")
@click.option("--port", default=6006, show_default=True, type=click.IntRange(0, 65535), help="port; 0 = any free one")
def tensorboard(run: str, port: int) -> None:
    """Start TensorBoard on a run directory, or on a folder of several; it answers on this machine only.

    The first screen to look at is CUSTOM SCALARS: it is laid out to tell the story. Ctrl-C stops it.
    """
    with reported(Terminal(stderr=True), as_json=False, resume=lambda: f"ast-ray tensorboard {run}"):
        directory = RunDirectory.open_read_only(run)
        board = Folder(directory.tensorboard)
        board.pull()
        address = _start(_events(directory), port)
        echo(f"TensorBoard: {address}#custom_scalars  (Ctrl-C stops it)")
        forever = threading.Event()
        while not forever.wait(_REFRESH):
            board.pull()


def _events(run: RunDirectory) -> Path:
    """The folder of events of a run directory, or the folder itself when runs lie in it."""
    inside = run.tensorboard
    if inside.is_dir():
        return inside
    if any(run.path.glob("*/tensorboard")):
        return run.path
    raise StoreError(f"{run}: no TensorBoard events here (expected a run directory, or a folder of them)")


def _start(folder: Path, port: int) -> str:
    """Serve from a thread of this process; return the address."""
    from tensorboard import program

    server = program.TensorBoard()
    samples = "images=100,histograms=100,scalars=10000"  # 0, "all", leaves custom scalars empty
    options = ["--logdir", str(folder), "--host", _LOOPBACK, "--port", str(port), "--samples_per_plugin", samples]
    server.configure(argv=["tensorboard", *options, "--reload_interval", "10", "--load_fast", "false"])
    try:
        return str(server.launch())
    except program.TensorBoardServerException as error:
        raise ResourceError(f"TensorBoard cannot start on port {port}: {error}; choose another --port") from error

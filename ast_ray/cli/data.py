"""``ast-ray data``: look at a source, list and clear the decoded images."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ast_ray.cli.display import Display
from ast_ray.cli.errors import reported
from ast_ray.cli.streams import say_json
from ast_ray.cli.terminal import Terminal, echo
from ast_ray.config import DataConfig, check
from ast_ray.config.address import local_path
from ast_ray.config.datasets import DATASETS
from ast_ray.config.loading import apply_overrides, to_dict
from ast_ray.config.printable import one_line
from ast_ray.config.settings import Config
from ast_ray.errors import counted
from ast_ray.storage.replaced import check_own
from ast_ray.telemetry.progress import Update

_CLASSES_SHOWN = 20


def size_text(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


@click.group()
def data() -> None:
    """Look at real images, and at the cache of decoded ones."""


def _root_option(function: Any) -> Any:
    return click.option("--root", metavar="DIR", help="folder for downloads and decoded images")(function)


def _settings(source: str | None, given: dict[str, Any]) -> DataConfig:
    values = {f"data.{name}": value for name, value in given.items() if value is not None}
    if source in DATASETS:
        named = DATASETS[source].data
        values = {"data.source": named.source, "data.subset": named.subset, **values}
    elif source is not None:
        values["data.source"] = source
    return check(apply_overrides(Config(), values)).data


@data.command("inspect")
@click.argument("source")
@click.option("--ipc", default=1, show_default=True, type=click.IntRange(min=1), help="images per class of the preset")
@click.option("--png", metavar="FILE", help="where the samples go; default: samples-<source>.png")
@click.option("--subset", metavar="NAME", help="ten ImageNet classes: nette, woof, fruit, meow, squawk, yellow")
@click.option("--image-size", metavar="INT", help="pixels per side; default: derived")
@click.option("--resize", metavar="NAME", help="crop or stretch")
@click.option("--channels", metavar="NAME", help="auto, grey or rgb")
@click.option("--test-fraction", metavar="FLOAT", help="share held out where there is no test split")
@click.option("--skip-corrupt", is_flag=True, default=None, help="go on without what cannot be used")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@_root_option
def inspect(source: str, ipc: int, png: str | None, as_json: bool, **given: Any) -> None:
    """Describe SOURCE, a dataset's name or a path: size, classes, statistics, samples, preset, disk needed."""
    messages = Terminal(stderr=True)
    with reported(messages, as_json=as_json, resume=str):
        from ast_ray.stages.tools.inspect_source import MARK, inspect_source

        settings = _settings(source, given)
        picture = local_path(png or f"samples-{Path(source).resolve().stem}.png", "png")
        if not png:
            check_own(picture, MARK, "--png")
        with Display(messages, quiet=as_json) as display:

            def progress(what: str, done: int, total: int) -> None:
                display.update(Update(what, done, total))

            found = inspect_source(settings, ipc, picture, progress=progress)
        if as_json:
            say_json(_as_json(found))
            return
        _show(Terminal(), found)


def _as_json(found: Any) -> dict[str, Any]:
    plain = (
        "source",
        "content_id",
        "cache",
        "cache_bytes",
        "image_shape",
        "class_names",
        "train_counts",
        "test_counts",
    )
    values = {name: getattr(found, name) for name in (*plain, "means", "deviations", "notes", "warnings", "picture")}
    preset = {"preset": found.config.preset, "settings": to_dict(found.config)}
    disk = {"expert_bytes": found.cost.expert_bytes, "memory_bytes_estimate": found.cost.memory}
    return {**values, **preset, **disk}


def _show(console: Console, found: Any) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    channels, height, width = found.image_shape
    say(f"source: {found.source}")
    say(f"images: {width}x{height} px, {'grey' if channels == 1 else 'rgb'}, content {found.content_id}")
    say(f"training images: {_spread(found.train_counts)}")
    say(f"test images: {_spread(found.test_counts)}")
    names = ", ".join(map(one_line, found.class_names[:_CLASSES_SHOWN]))
    more = len(found.class_names) - _CLASSES_SHOWN
    say(f"classes: {len(found.class_names)}: {names}{f' and {more} more' if more > 0 else ''}")
    say(f"mean: {_numbers(found.means)}, std: {_numbers(found.deviations)} (training split, per channel)")
    for note in found.notes:
        say(f"note: {note}")
    for warning in found.warnings:
        say(f"warning: {warning}")
    say(f"decoded: {found.cache} ({size_text(found.cache_bytes)})")
    config = found.config
    say(
        f"preset: {config.preset}: ConvNet of width {config.network.width}, depth {config.network.depth or 'by size'}, "
        f"{counted(config.expert.count, 'expert')} of {counted(config.expert.epochs, 'epoch')}, "
        f"{counted(config.distill.iterations, 'iteration')}, "
        f"DSA {config.distill.augmentation}"
    )
    if config.data.image_size and config.data.image_size != height:
        say(f"preset's image size: {config.data.image_size} px (data.image_size overrides it)")
    say(f"disk for experts: {size_text(found.cost.expert_bytes)}")
    say(f"samples: {found.picture}")


def _spread(counts: Sequence[int]) -> str:
    small, large = min(counts), max(counts)
    return f"{sum(counts)}, {small} per class" if small == large else f"{sum(counts)}, {small} to {large} per class"


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


@data.command("list")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@_root_option
def list_cached(as_json: bool, root: str | None) -> None:
    """List the cache of decoded images."""
    with reported(Terminal(stderr=True), as_json=as_json, resume=str):
        from ast_ray.data.cache import cache_folder, list_cache

        settings = _settings(None, {"root": root})
        found = list_cache(settings)
        if as_json:
            say_json([{**vars(item), "path": str(item.path)} for item in found])
            return
        table = Table(title=str(cache_folder(settings)))
        for name in ("name", "source", "images", "size", "bytes", "written"):
            table.add_column(name, overflow="fold")
        for item in found:
            shape = "x".join(str(part) for part in item.shape)
            when = datetime.fromtimestamp(item.modified).isoformat(sep=" ", timespec="minutes")
            cells = (item.source or item.kind, str(item.images or ""), shape, size_text(item.size_bytes), when)
            table.add_row(item.path.stem, *cells)
        Terminal().print(table)


@data.command("clear")
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@_root_option
def clear(names: tuple[str, ...], as_json: bool, root: str | None) -> None:
    """Delete decoded images: those named (by name, source or content id, as `list` shows them), or all."""
    with reported(Terminal(stderr=True), as_json=as_json, resume=str):
        from ast_ray.data.cache import clear_cache
        from ast_ray.errors import ConfigError, Problem

        gone = clear_cache(_settings(None, {"root": root}), names)
        if names and not gone:
            raise ConfigError([Problem("name", ", ".join(names), "nothing in the cache is called that; see data list")])
        total = sum(item.size_bytes for item in gone)
        if as_json:
            say_json({"deleted": [str(item.path) for item in gone], "bytes": total})
            return
        echo(f"deleted {counted(len(gone), 'file')}, {size_text(total)}")

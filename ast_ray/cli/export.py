"""``ast-ray export`` and ``ast-ray import``: sets for other tools, and images made by others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from ast_ray.cli.errors import reported
from ast_ray.cli.options import build_config, setting_options
from ast_ray.cli.streams import say_json
from ast_ray.cli.terminal import Terminal, echo
from ast_ray.config.address import local_path, local_problem
from ast_ray.errors import ConfigError, Problem, counted
from ast_ray.storage.folder import Folder


@click.command()
@click.argument("sets", nargs=-1, required=True, metavar="SET...")
@click.option(
    "--format",
    "formats",
    metavar="NAMES",
    default="hf",
    help="safetensors, hf (Hugging Face Parquet and card), png, npz, pt, joined by commas, or all. Default: hf",
)
@click.option("--out", metavar="DIR", help="where to; each format has a folder there. Default: export/ beside the set")
@click.option("--json", "as_json", is_flag=True, help="paths as JSON on stdout, nothing else there")
def export(sets: tuple[str, ...], formats: str, out: str | None, as_json: bool) -> None:
    """Write distilled sets for other tools, with exact values, pixels, class names, alpha, protocol and provenance.

    Read any of them back with `ast_ray.load(FOLDER)`; `ast-ray evaluate FOLDER` gives the reported accuracy again.
    """
    from ast_ray.stages.evaluation.named_sets import set_paths
    from ast_ray.stages.tools.export import export_sets
    from ast_ray.storage.export import FORMATS

    with reported(Terminal(stderr=True), as_json=as_json, resume=str):
        names = list(FORMATS) if formats == "all" else [name.strip() for name in formats.split(",") if name.strip()]
        if not names:
            raise ConfigError([Problem("format", formats, f"name at least one of {', '.join(FORMATS)}")])
        written = export_sets(set_paths(sets), names, Folder.open_read_only(out).resolved().path if out else None)
        if as_json:
            say_json({"written": written})
            return
        for item in written:
            echo(f"{item['set']} as {item['format']}: {item['path']}")


def _numbers(_context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...]:
    try:
        return () if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter("expected numbers joined by commas, one per channel", param=parameter) from None


@click.command("import")
@click.argument("images")
@click.option("--labels", metavar="FILE", help="file of labels; default: in the file of images")
@click.option("--to", required=True, metavar="FILE", help="the set to write, a .safetensors file")
@click.option(
    "--image-space",
    "space",
    type=click.Choice(("auto", "model", "pixels")),
    default="auto",
    help="values are normalised already, or pixels (0..255 or 0..1); auto = by type and range",
)
@click.option("--mean", callback=_numbers, metavar="NUMBERS", help="mean the values were normalised with, per channel")
@click.option("--std", callback=_numbers, metavar="NUMBERS", help="standard deviation of that normalisation")
@click.option("--json", "as_json", is_flag=True, help="the result as JSON on stdout, nothing else there")
@setting_options
def import_images(
    images: str,
    labels: str | None,
    to: str,
    space: Any,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Make a set of images others distilled (.pt, .npz, .npy, .safetensors; nothing in them is run), to evaluate it.

    The settings say what the real images are (--source, --preprocess), and how to train: --student-lr,
    --distill.augmentation.
    """
    with reported(Terminal(stderr=True), as_json=as_json, resume=str):
        places = {"images": images, "labels": labels, "to": to}
        problems = [found for name, text in places.items() if text and (found := local_problem(text, name))]
        problems += _problems(to, mean, std)
        if problems:
            raise ConfigError(problems)
        source, target = local_path(images, "images"), local_path(to, "to")
        config = build_config(options.pop("preset_name"), options.pop("config_file"), options)
        import torch

        from ast_ray.stages.device import real_data
        from ast_ray.stages.tools.export import import_set
        from ast_ray.storage.synthetic import save_synthetic

        data = real_data(config.data, torch.device("cpu"))
        channels = data.image_shape[0]
        if mean and not (len(mean) == len(std) == channels):
            raise ConfigError([Problem("mean", mean, f"one number per channel, with --std: {channels}")])
        beside = local_path(labels, "labels") if labels else None
        imported = import_set(config, data, source, beside, space=space, mean=mean, std=std)
        save_synthetic(target, imported)
        taken = imported.provenance["space"]
        if as_json:
            say_json({"set": str(target), "images": len(imported), "space": taken})
            return
        echo(f"{counted(len(imported), 'image')}, read as {taken}, trained with rate {imported.student_lr:g}: {target}")
        echo(f"evaluate them with: ast-ray evaluate {target}")


def _problems(to: str, mean: tuple[float, ...], std: tuple[float, ...]) -> list[Problem]:
    problems = []
    if Path(to).suffix != ".safetensors" and not local_problem(to, "to"):
        stem = to.removesuffix(Path(to).suffix)
        problems.append(Problem("to", to, f"a .safetensors file, e.g. {stem}.safetensors"))
    if bool(mean) != bool(std):
        problems.append(Problem("mean", mean, "--mean and --std belong together"))
    problems += [Problem("mean", value, "must be finite") for value in mean if not math.isfinite(value)]
    for value in std:
        if not (math.isfinite(value) and value > 0):
            problems.append(Problem("std", value, "must be finite and above 0"))
    return problems

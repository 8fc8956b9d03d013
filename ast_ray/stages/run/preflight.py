"""Everything that can be refused is refused here, before any work: data against settings, device, space, stores."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from ast_ray.config.engine import choose_expert_engine
from ast_ray.config.identity import trained
from ast_ray.config.methods import matched_methods
from ast_ray.config.settings import Config
from ast_ray.core.networks import build
from ast_ray.core.parameters import FlatSpec
from ast_ray.core.rng import stream
from ast_ray.data.cache import cache_folder
from ast_ray.data.real import RealData
from ast_ray.data.sources import image_trees
from ast_ray.errors import ConfigError, Problem, ResourceError, counted
from ast_ray.stages.engine import machine, matching_choice
from ast_ray.stages.evaluation.rows import check_architectures
from ast_ray.storage.folder import Folder

_RESERVE = 64 * 2**20


def check_against_data(config: Config, data: RealData) -> None:
    """Check the settings that only the images can judge.

    Raises:
        ConfigError: ipc or batch sizes that the data cannot serve, an engine that this machine or network lacks;
        ResourceError: matching that cannot fit into this machine's memory.
    """
    problems = []
    counts = torch.bincount(data.train_labels, minlength=data.classes)
    smallest = int(counts.min())
    if config.distill.ipc > smallest:
        label = int(counts.argmin())
        reason = (
            f"class {data.class_names[label]!r} has {counted(smallest, 'training image')}; largest valid: {smallest}"
        )
        problems.append(Problem("distill.ipc", config.distill.ipc, reason))
    total = config.distill.ipc * data.classes
    if config.distill.batch_size > total:
        reason = f"the synthetic set has ipc*K = {counted(total, 'image')}; largest valid: {total} (0 = all)"
        problems.append(Problem("distill.batch_size", config.distill.batch_size, reason))
    if problems:
        raise ConfigError(problems)
    build(config.network, data.image_shape, data.classes, stream(config.seed, "preflight"))
    check_architectures(config, data)
    if (
        matched_methods(config) and not config.compute.address
    ):  # elsewhere, the machine that does the work checks itself
        matching_choice(config, data)
        choose_expert_engine(config, data.image_shape, len(data.train_labels), machine(config.compute))


def parameter_count(config: Config, data: RealData) -> int:
    """P of the settings' network."""
    return FlatSpec.of(build(config.network, data.image_shape, data.classes, stream(config.seed, "preflight"))).numel


def expert_bytes(config: Config, data: RealData) -> int:
    """Disk needed by one expert."""
    later = 2 if config.expert.storage == "bf16" else 4
    return parameter_count(config, data) * (4 + later * trained(config).expert.epochs)


def check_apart(config: Config, out: Path) -> None:
    """Refuse to write among the images: what is written there would be taken for some of them the next time.

    Raises:
        ConfigError: names each place inside the folder of images; DataError: that folder has no classes.
    """
    places = {"out": out, "data.root": cache_folder(config.data)}
    if config.compute.store and Folder.at(config.compute.store, "compute.store").is_local:
        places["compute.store"] = Path(config.compute.store).expanduser()
    problems = [
        Problem(name, str(place), f"lies inside {tree}, whose pictures are the images; choose a folder outside of it")
        for tree in image_trees(config.data)
        for name, place in places.items()
        if place.resolve().is_relative_to(tree.resolve())
    ]
    if problems:
        raise ConfigError(problems)


def check_folder(folder: Path, needed: int = 0) -> None:
    """Create the folder and check that it can be written and holds ``needed`` bytes.

    Raises:
        ResourceError: no permission, or too little space.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ResourceError(f"{folder}: cannot be written ({error.strerror or error})") from error
    if free < needed + _RESERVE:
        wanted = f"{max(1, needed // 2**20)} MiB needed for experts" if needed else "the disk is full"
        todo = "lower expert.count or expert.epochs, or set compute.store" if needed else "free some"
        reserve = f"{_RESERVE // 2**20} MiB are to stay free"
        raise ResourceError(f"{folder}: {wanted}, {free / 2**20:.0f} MiB free, of which {reserve}; {todo}")

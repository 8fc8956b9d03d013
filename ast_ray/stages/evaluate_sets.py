"""Evaluation jobs for distilled sets named by path."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ast_ray.config.fingerprint import fingerprint
from ast_ray.config.loading import to_dict
from ast_ray.config.settings import Config
from ast_ray.errors import StoreError
from ast_ray.stages.context import real_data
from ast_ray.stages.evaluate import PROTOCOL, EvaluationJob, check_set, row_settings
from ast_ray.stages.preflight import check_folder
from ast_ray.store.synthetic import load_synthetic
from ast_ray.telemetry.run_directory import RunDirectory


def set_paths(named: Sequence[str]) -> dict[str, Path]:
    """Find the sets behind paths: a file, a folder that holds one, or a run directory with one per method.

    Raises:
        StoreError: nothing there.
    """
    found: dict[str, Path] = {}
    for text in named:
        path = Path(text).expanduser().resolve()
        inside = sorted((path / "distill").glob("*/synthetic.safetensors"))
        if (path / "synthetic.safetensors").exists():
            inside = [path / "synthetic.safetensors"]
        if path.is_file():
            inside = [path]
        if not inside:
            raise StoreError(f"{text}: no synthetic set here (expected a .safetensors file or a run directory)")
        for file in inside:
            load_synthetic(file)
            found[_name(file, found)] = file
    return found


def _name(file: Path, taken: Mapping[str, Path]) -> str:
    base = file.parent.name if file.stem == "synthetic" else f"{file.parent.name}-{file.stem}"
    name, number = base, 2
    while name in taken and taken[name] != file:
        name, number = f"{base}-{number}", number + 1
    return name


def set_jobs(config: Config, paths: Mapping[str, Path], folder: Path) -> list[EvaluationJob]:
    """One job per set and network; rows go to ``folder``.

    Raises:
        DataError: the data cannot be read, or a set is not of this data; ResourceError: the folder cannot be written.
    """
    data = real_data(config.data, torch.device("cpu"))
    for path in paths.values():
        check_set(load_synthetic(path), str(path), data)
    check_folder(folder)
    jobs = []
    for name, path in paths.items():
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        identity = {"set": content, "evaluate": row_settings(config), "seed": config.seed}
        identity["data"], identity["network"] = to_dict(config)["data"], to_dict(config)["network"]
        token = fingerprint(identity)
        for index in range(config.evaluate.networks):
            row = RunDirectory(folder).row(name, config.network.name, PROTOCOL, index)
            jobs.append(EvaluationJob(name, str(path), config, index, str(row), token))
    return jobs

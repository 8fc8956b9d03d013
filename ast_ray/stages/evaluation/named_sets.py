"""Evaluation jobs for sets named on the command line: distilled sets by path, real subsets by name."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ast_ray.config.identity import expert_identity, fingerprint, trained
from ast_ray.config.settings import Config
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.data.real import RealData
from ast_ray.errors import StoreError
from ast_ray.stages.device import real_data
from ast_ray.stages.evaluation.evaluate import EvaluationJob
from ast_ray.stages.evaluation.jobs import jobs_of_set
from ast_ray.stages.evaluation.rows import (
    check_architectures,
    real_set_identity,
    with_scored,
)
from ast_ray.stages.evaluation.training_sets import NEEDS_EXPERT, REAL_SETS, check_set
from ast_ray.stages.executor import Executor
from ast_ray.stages.experts.train import ExpertJob, train_experts
from ast_ray.stages.run.preflight import check_folder
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.export import load_set, set_file
from ast_ray.storage.folder import Folder
from ast_ray.storage.run_directory import EvaluationDirectory


def split_names(named: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Tell paths from names of real subsets; a path of that name wins."""
    real = tuple(dict.fromkeys(text for text in named if text in REAL_SETS and not Path(text).exists()))
    return [text for text in named if text not in real], real


def set_paths(named: Sequence[str]) -> dict[str, Path]:
    """Find the sets behind paths: a file, a folder that holds one, or a run directory with one per method.

    Returns each set's file by the name its rows go by (`row_names`).

    Raises:
        StoreError: nothing there.
    """
    chains: dict[Path, tuple[str, ...]] = {}
    for text in named:
        folder = Folder.open_read_only(text).resolved()
        file = set_file(folder.path)
        inside = [file] if file is not None else (folder / "distill").list("*/synthetic.safetensors")
        if not inside:
            raise StoreError(
                f"{text}: no synthetic set here (expected a set, an export, or a run directory; "
                f"real images go by the names {', '.join(REAL_SETS)})"
            )
        for place in inside:
            load_set(place)
            chains.setdefault(place, _chain(place, folder.path if file is not None and folder.path.is_dir() else None))
    return dict(zip(row_names(list(chains.values())), chains, strict=True))


def _chain(file: Path, folder: Path | None) -> tuple[str, ...]:
    """The names around a set, from its own outwards; a run's ``distill`` says nothing."""
    place = folder or file.parent
    whole = folder is not None or file.stem in ("synthetic", "dataset")
    own = place.name if whole else f"{place.name}-{file.stem}"
    return (own, *(parent.name for parent in place.parents if parent.name not in ("distill", "")))


def row_names(chains: Sequence[tuple[str, ...]]) -> list[str]:
    """Name each set by its own name, and by as many of the folders around it as tell it from all the others.

    No set goes by the name of real images, and none by that of another set, whatever the order they are given in.

    >>> row_names([("ast", "one", "runs"), ("ast", "two", "runs"), ("random", "sets"), ("mtt", "one", "runs")])
    ['one-ast', 'two-ast', 'sets-random', 'mtt']
    """
    depths = [1] * len(chains)
    while True:
        names = ["-".join(reversed(chain[:depth])) for chain, depth in zip(chains, depths, strict=True)]
        count = Counter(names)
        clashing = [place for place, name in enumerate(names) if count[name] > 1 or name in REAL_SETS]
        longer = [place for place in clashing if depths[place] < len(chains[place])]
        if not longer:
            break
        for place in longer:
            depths[place] += 1
    for place in clashing:  # nothing around them tells them apart: numbers do
        number, base = 1, names[place]
        while names[place] in REAL_SETS or names.count(names[place]) > 1:
            number += 1
            names[place] = f"{base}-{number}"
    return names


def content_of(synthetic: SyntheticSet) -> dict[str, Any]:
    """Return the part of a set's content that determines evaluation results, independent of file format."""
    digest = hashlib.sha256(synthetic.images.contiguous().numpy().tobytes())
    digest.update(synthetic.labels.contiguous().numpy().tobytes())
    about = [synthetic.student_lr, synthetic.class_names, synthetic.augmentation, synthetic.siamese]
    if synthetic.targets is not None:
        about.append(synthetic.target_loss)
        digest.update(synthetic.targets.float().contiguous().numpy().tobytes())
    digest.update(json.dumps(about).encode())
    return {"content": digest.hexdigest()[:16], "role": role_of(synthetic)}


def role_of(synthetic: SyntheticSet) -> str:
    """The name of a set's random streams: that of the run it comes from, so that an export meets the same networks."""
    return str(synthetic.provenance.get("method", ""))


def _buffer(config: Config, data: RealData, paths: Mapping[str, Path], folder: Path) -> Buffer:
    """Return the experts of the run that a set lies in, or of the evaluation's own folder."""
    identity = expert_identity(config, data.data_id)
    name = fingerprint(identity)
    runs = [path.parents[2] / "experts" for path in paths.values() if len(path.parents) > 2]
    for experts in runs:
        buffer = Buffer(experts / name, identity, config.expert.count)
        if buffer.has(0):
            return buffer
    return Buffer(folder / "experts" / name, identity, config.expert.count)


def set_jobs(config: Config, paths: Mapping[str, Path], folder: Path, real: Sequence[str] = ()) -> list[EvaluationJob]:
    """One job per set, architecture, protocol and network; rows go to ``folder``.

    Raises:
        DataError: the data cannot be read or a set does not fit it; ConfigError: an image too small for a network;
            ResourceError: the folder cannot be written.
    """
    config = trained(config)
    data = real_data(config.data, torch.device("cpu"))
    check_architectures(config, data)
    directory = EvaluationDirectory(folder)
    buffer = _buffer(config, data, paths, folder)

    def real_jobs(name: str) -> list[EvaluationJob]:
        what = real_set_identity(name, config, data)
        return jobs_of_set(config, data, directory, buffer, name=name, source=name, what=what)

    scored = with_scored(tuple(real), config)
    jobs = [job for name in scored if name != "full" for job in real_jobs(name)]
    for name, path in paths.items():
        synthetic = load_set(path)
        check_set(synthetic, str(path), data)
        jobs += jobs_of_set(
            config,
            data,
            directory,
            buffer,
            name=name,
            source=str(path),
            what=content_of(synthetic),
            images=len(synthetic.labels),
            role=role_of(synthetic),
        )
    jobs += real_jobs("full") if "full" in scored else []
    check_folder(folder)
    return jobs


def made_of_other_images(jobs: Sequence[EvaluationJob], paths: Mapping[str, Path]) -> list[str]:
    """Say of each set that was distilled from other images than it is evaluated on."""
    lines = []
    for name, path in paths.items():
        here = next(job.buffer.identity["data"]["id"] for job in jobs if job.set_name == name)
        there = load_set(path).provenance.get("data_id", here)
        if there != here:
            lines.append(
                f"{name}: distilled from other images than it is evaluated on (data.id {there} there, {here} here): "
                "the images changed since, or the settings under data differ"
            )
    return lines


def train_embedding(jobs: Sequence[EvaluationJob], executor: Executor) -> None:
    """Train the expert that chosen real subsets are looked at through, unless it is there."""
    job = next((job for job in jobs if job.source in NEEDS_EXPERT), None)
    if job is None or job.buffer.has(0):
        return
    job.buffer.prepare()
    boards = str(job.buffer.folder.parent / "tensorboard" / "embedding")
    expert = ExpertJob(job.config, job.buffer, (0,), boards, "embedding expert")
    for _ in executor.run(train_experts, [expert]):
        pass

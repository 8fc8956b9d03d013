"""The rows of an evaluation: their names, their identities, and all of them in one Parquet file.

Each row is first published as a small JSON file of its own (the journal, which makes a killed evaluation resume), then
gathered into ``rows.parquet``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ast_ray.config.full_data import full_epochs
from ast_ray.config.identity import expert_identity, fingerprint, network_identity
from ast_ray.config.loading import to_dict
from ast_ray.config.settings import Config
from ast_ray.core.networks import build
from ast_ray.data.real import RealData
from ast_ray.errors import ConfigError, Problem
from ast_ray.stages.evaluation.evaluate import PROTOCOL, network_config, row_settings
from ast_ray.stages.evaluation.training_sets import NEEDS_EXPERT
from ast_ray.storage.atomic import atomic_path
from ast_ray.storage.records.evaluation import whole_row

SCHEMA = pa.schema(
    [
        ("set", pa.string()),
        ("network", pa.string()),
        ("protocol", pa.string()),
        ("seed", pa.int64()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
        ("classes", pa.int64()),
        ("images", pa.int64()),
        ("lr", pa.float64()),
        ("lr_source", pa.string()),
        ("passes", pa.int64()),
        ("steps", pa.int64()),
        ("train_accuracy", pa.float64()),
        ("train_accuracy_before", pa.float64()),
        ("augmentation", pa.string()),
        ("best_pass", pa.int64()),
        ("seconds", pa.float64()),
        ("token", pa.string()),
    ]
)


# Of a set with soft labels; a table without such a set has no such column.
_TARGETS = pa.field("targets", pa.string())


def cache_key(config: Config, data_id: str, architecture: str, protocol: str, what: Mapping[str, Any]) -> str:
    """Hash of `row_identity`."""
    return fingerprint(row_identity(config, data_id, architecture, protocol, what))


def row_identity(
    config: Config, data_id: str, architecture: str, protocol: str, what: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that decides a row but its number; ``what`` identifies the set.

    More networks, architectures or protocols leave rows that are there as they are.
    """
    return {
        "set": dict(what),
        "network": network_identity(network_config(config, architecture)),
        "protocol": protocol,
        "evaluate": row_settings(config),
        "data": expert_identity(config, data_id)["data"],
        "seed": config.seed,
    }


def real_set_identity(source: str, config: Config, data: RealData) -> dict[str, Any]:
    """Return what decides a real subset and how it is trained on.

    Chosen subsets depend on the expert that chose them. The full set names its epochs where ``evaluate.full_steps``
    raised them; elsewhere its rows are those made before that setting existed.
    """
    distill = to_dict(config)["distill"]
    names = ("ipc", "augmentation", "siamese", "init_clusters")
    identity = {"real": source, **{name: distill[name] for name in names}, "batch_size": config.expert.batch_size}
    if source == "full" and (epochs := full_epochs(config, len(data.train_labels))) != config.evaluate.full_epochs:
        return {**identity, "epochs": epochs}
    if source in ("random", "full"):
        return identity
    return {**identity, "expert": expert_identity(config, data.data_id)}


def cells(config: Config, source: str) -> list[tuple[str, str]]:
    """Architecture and protocol of every group of rows a set gets, in the order of the table.

    The full set is trained by its own recipe, so it has one protocol. DD-Ranking's scores need ``strict`` of every set
    and ``no-augmentation`` of all but chosen real subsets and the full set.
    """
    protocols: list[str] = list(config.evaluate.protocols)
    if config.evaluate.scores:
        protocols = [PROTOCOL, *(name for name in protocols if name != PROTOCOL)]
        if source not in NEEDS_EXPERT and "no-augmentation" not in protocols:
            protocols.append("no-augmentation")
    if source == "full":
        protocols = [PROTOCOL]
    return [(name, protocol) for name in config.evaluate.architectures or ("",) for protocol in protocols]


def with_scored(names: tuple[str, ...], config: Config) -> tuple[str, ...]:
    """Real sets asked for, and those the scores need."""
    needed = ("random", "full") if config.evaluate.scores else ()
    return (*names, *(name for name in needed if name not in names))


def check_architectures(config: Config, data: RealData) -> None:
    """Build every architecture once, so that an image too small for one is told before any work.

    Raises:
        ConfigError: all that do not fit.
    """
    problems = []
    for name in config.evaluate.architectures:
        try:
            build(network_config(config, name), data.image_shape, data.classes, torch.Generator())
        except ConfigError as error:
            problems += [Problem("evaluate.architectures", name, problem.reason) for problem in error.problems]
    if problems:
        raise ConfigError(problems)


def publish_rows(folder: Path) -> Path:
    """Gather the journal of a folder into ``rows.parquet``, sorted by set, network, protocol and seed.

    The rows of a set, network and protocol are those of one evaluation, the one its first seed belongs to: what is left
    of an earlier one, of another set by this name or with other settings, is not gathered. Damaged rows are left out.
    """
    found = [row for path in sorted(folder.glob("*.json")) if (row := whole_row(path)) is not None]
    found.sort(key=lambda row: (row["set"], row["network"], row["protocol"], row["seed"]))
    tokens: dict[tuple[str, str, str], str] = {}
    rows = [row for row in found if tokens.setdefault(_cell(row), row["token"]) == row["token"]]
    schema = SCHEMA.append(_TARGETS) if any(_TARGETS.name in row for row in rows) else SCHEMA
    target = folder / "rows.parquet"
    with atomic_path(target) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
    return target


def _cell(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["set"], row["network"], row["protocol"]

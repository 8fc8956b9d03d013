"""The jobs of one set: a network per architecture, protocol and number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ast_ray.config.settings import Config
from ast_ray.data.real import RealData
from ast_ray.stages.engine import run_memory
from ast_ray.stages.evaluation.evaluate import EvaluationJob
from ast_ray.stages.evaluation.groups import networks_at_once
from ast_ray.stages.evaluation.rows import cache_key, cells, networks_of
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.run_directory import EvaluationDirectory


def jobs_of_set(
    config: Config,
    data: RealData,
    directory: EvaluationDirectory,
    buffer: Buffer,
    *,
    name: str,
    source: str,
    what: Mapping[str, Any],
    images: int | None = None,
    role: str = "",
    share_gpu: bool = False,
) -> list[EvaluationJob]:
    """Return one job per architecture, protocol and network on a set.

    Args:
        buffer: its first expert extracts features, where the set is chosen by them.
        name: the set's name in rows; ``source``: ``full``, a real subset by name, or a path.
        what: identity of the set's content; ``images``: their number; None for all of ``full``,
            and as many per class as the settings say for any other.
        role: name of the random streams; empty for the set's name.
        share_gpu: whether networks of the settings' own architecture may share a GPU by an estimate of their memory.
    """
    if images is None:
        images = len(data.train_labels) if source == "full" else config.distill.ipc * data.classes
    jobs = []
    for architecture, protocol in cells(config, source):
        key = cache_key(config, data.data_id, architecture, protocol, what)
        label = architecture or config.network.name
        memory = run_memory(config, data).evaluation if share_gpu and not architecture else 0
        together = networks_at_once(config, data, source, protocol, architecture, images=images)
        for index in range(networks_of(config, source)):
            jobs.append(
                EvaluationJob(
                    name,
                    source,
                    config,
                    index,
                    str(directory.row(name, label, protocol, index)),
                    key,
                    buffer,
                    architecture,
                    protocol,
                    role,
                    memory,
                    together,
                )
            )
    return jobs

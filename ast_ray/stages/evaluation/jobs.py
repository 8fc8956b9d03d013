"""The jobs of one set: its networks per architecture and protocol, in groups that one task trains at once.

Alone remain networks with images of their own (random real ones), those looked at after passes (``peak``), and those
that are more than their weights (batch norm).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ast_ray.config.settings import Config
from ast_ray.core.networks import build
from ast_ray.core.vmapped import activation_bytes, is_stateless
from ast_ray.data.real import RealData
from ast_ray.stages.engine import run_memory
from ast_ray.stages.ensembles import in_ranges, that_fit
from ast_ray.stages.evaluation.evaluate import EvaluationJob, network_config, networks_of
from ast_ray.stages.evaluation.rows import cache_key, cells
from ast_ray.stages.evaluation.training_sets import batch_size
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
    """Return the jobs of all networks on a set, by architecture and protocol; a network alone is a job of one.

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
        token = cache_key(config, data.data_id, architecture, protocol, what)
        memory = run_memory(config, data).evaluation if share_gpu and not architecture else 0
        together = networks_at_once(config, data, source, protocol, architecture, images=images)
        for indices in in_ranges(range(networks_of(config, source)), together):
            jobs.append(
                EvaluationJob(
                    name,
                    source,
                    config,
                    indices,
                    str(directory.path),
                    token,
                    buffer,
                    architecture,
                    protocol,
                    role,
                    memory,
                    together,
                )
            )
    return jobs


def networks_at_once(
    config: Config, data: RealData, source: str, protocol: str, architecture: str, *, images: int
) -> int:
    """Return how many networks a task trains at once on so many images: as set, else by the device and its memory.

    ``architecture`` is a network's name, empty for the settings' own.
    """
    count, asked = networks_of(config, source), config.compute.networks_together
    on_gpu = torch.cuda.is_available() and config.compute.device != "cpu"
    if protocol == "peak" or source == "random" or asked == 1 or not (asked or on_gpu):
        return 1
    network = build(network_config(config, architecture), data.image_shape, data.classes, torch.Generator())
    if not is_stateless(network):
        return 1
    if asked:
        return min(asked, count)
    image = activation_bytes(network, data.image_shape, penalty=False)
    step = image * min(images, batch_size(source, protocol, config))
    return min(count, that_fit(config.compute, step, torch.device("cuda")))

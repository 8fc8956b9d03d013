"""Evaluate one network on one small set: train it fresh, score it on the real test set (Sec. V-A)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ast_ray.config.architectures import architecture
from ast_ray.config.loading import to_dict
from ast_ray.config.settings import Config, NetworkConfig
from ast_ray.core.training import Score, TrainingAccuracy
from ast_ray.data.real import RealData
from ast_ray.errors import DivergenceError
from ast_ray.stages.device import real_data, resolve_device, torch_threads
from ast_ray.stages.evaluation.training_sets import Training, lr_source, training_set
from ast_ray.stages.evaluation.validation import train_and_peek, train_and_score
from ast_ray.stages.executor import Resources
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.folder import Folder
from ast_ray.storage.records.evaluation import whole_entry
from ast_ray.telemetry.progress import ProgressSink

PROTOCOL = "strict"
# Not part of a row's settings: which rows there are, and full_steps, which is part of the full set's own identity.
_NOT_IN_ROWS = ("networks", "full_networks", "full_steps", "architectures", "protocols", "scores")
COLLAPSED = 0.02  # nats from the loss of an even guess
_SMALLER_RATE = {
    "real_lr": "lower evaluate.real_lr",
    "given": "lower evaluate.lr (evaluate.transfer_lr on other architectures)",
    "learned": "set evaluate.lr below the learned rate",
    "protocol": "the rate is the protocol's own: leave it out of evaluate.protocols",
}


@dataclass(frozen=True)
class EvaluationJob:
    """One network on one set.

    ``set_name`` is the row's name; ``source`` is ``random``, ``representative``, ``herding``, ``k-centre``,
    ``forgetting``, ``full`` or a path of a synthetic set. ``token`` names everything else that decides the result; a
    row with another token is stale and run again. ``architecture`` is a network's name, empty for the settings' own;
    ``role`` names the random streams, so that a set keeps its networks under another name. ``together`` is how many
    networks of its kind are trained at once (`stages.evaluation.groups`). Expert 0 of ``buffer`` extracts the features
    from which representative images are chosen.
    """

    set_name: str
    source: str
    config: Config
    index: int
    row: str
    token: str
    buffer: Buffer = field(hash=False)
    architecture: str = ""
    protocol: str = PROTOCOL
    role: str = ""
    gpu_memory: int = 0
    together: int = 1

    @property
    def needs(self) -> Resources:
        """One worker, on a GPU that it may share."""
        return Resources(gpu_memory=self.gpu_memory)

    @property
    def key(self) -> str:
        """Set and number, between them network and protocol where they are not the usual ones."""
        protocol = "" if self.protocol == PROTOCOL else self.protocol
        words = ("evaluate", self.set_name, self.architecture, protocol, str(self.index))
        return " ".join(word for word in words if word)

    @property
    def label(self) -> str:
        """The network's name in rows."""
        return self.architecture or self.config.network.name

    @property
    def network(self) -> NetworkConfig:
        """The network's settings."""
        return network_config(self.config, self.architecture)

    @property
    def streams(self) -> str:
        """The role of the network's random streams."""
        return f"evaluate {self.role or self.set_name}"

    def training(self, data: RealData) -> Training:
        """Return the images and the training of the network."""
        return training_set(self.source, self.protocol, self.index, self.config, data, self.buffer, self.network)


def network_config(config: Config, name: str) -> NetworkConfig:
    """Settings of the architecture called ``name``, empty for the run's own."""
    return architecture(name, config.network) if name else config.network


def row_settings(config: Config) -> dict[str, Any]:
    """Return the settings of ``evaluate`` that decide one network's row, whichever networks there are and how many.

    The steps of the full-data row are not among them: they are in `evaluate_rows.real_set_identity`, and only where
    they lengthen its training, so that the rows of all other sets stay valid.
    """
    values: dict[str, Any] = to_dict(config)["evaluate"]
    return {name: value for name, value in values.items() if name not in _NOT_IN_ROWS}


def finished_row(job: EvaluationJob) -> dict[str, Any] | None:
    """Return the row when it was already evaluated under the same token; a damaged one counts as absent."""
    entry = journal_entry(job)
    return entry if entry is not None and "accuracy" in entry else None


def journal_entry(job: EvaluationJob) -> dict[str, Any] | None:
    """Return what stands in the row's place under the same token: the row, or why there is none."""
    entry = whole_entry(Path(job.row))
    return dict(entry) if entry is not None and entry["token"] == job.token else None


def evaluate_network(job: EvaluationJob, _sink: ProgressSink) -> dict[str, Any]:
    """Train one fresh network on the set, score it on the whole test set, publish and return the row.

    Every protocol but ``peak`` scores once, after the last pass.

    Raises:
        DivergenceError: training diverged; names set and network.
    """
    done = fetched_row(job)
    if done is not None:
        return done
    began = time.perf_counter()
    config = job.config
    with torch_threads(config.compute.threads):
        data = real_data(config.data, resolve_device(config.compute))
        training = job.training(data)
        try:
            result, best_pass = _result(job, data, training)
        except DivergenceError as error:
            raise diverged(job, error) from error
    return publish_row(job, data, training, result, best_pass=best_pass, seconds=time.perf_counter() - began)


def fetched_row(job: EvaluationJob) -> dict[str, Any] | None:
    """`finished_row` of a job whose row another machine may have written."""
    row = Path(job.row)
    Folder(row.parent).fetch(row)
    return finished_row(job)


def diverged(job: EvaluationJob, error: DivergenceError) -> DivergenceError:
    """The error with the names of set and network."""
    network = f"{job.architecture} network" if job.architecture else "network"
    advice = _SMALLER_RATE[lr_source(job.source, job.protocol, job.config, job.network)]
    text = f"set {job.set_name!r}, {network} {job.index}: {error}; {advice}"
    return DivergenceError(text, reason=error.reason, advice=advice)


def publish_row(
    job: EvaluationJob,
    data: RealData,
    training: Training,
    result: Score,
    *,
    seconds: float,
    best_pass: int | None = None,
) -> dict[str, Any]:
    """Write and return the row of a network that was trained and scored."""
    recipe, images = training.recipe, len(training.images)
    trend = result.trend
    row = {
        "set": job.set_name,
        "network": job.label,
        "protocol": job.protocol,
        "seed": job.index,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "classes": data.classes,
        "images": images,
        "lr": recipe.lr,
        "lr_source": lr_source(job.source, job.protocol, job.config, job.network),
        "passes": recipe.passes_over(images),
        "steps": recipe.steps(images),
        "train_accuracy": None if trend is None else trend.last,
        "train_accuracy_before": None if trend is None else trend.before,
        "augmentation": recipe.augmentation,
        "best_pass": best_pass,
        "seconds": round(seconds, 3),
        "token": job.token,
        **({"targets": training.targets} if training.targets else {}),
    }
    write_document(Path(job.row), row)
    return row


def collapse_warning(row: Mapping[str, Any]) -> str | None:
    """Return a warning when a network learned nothing: the same answer for every image, with a loss of ln K.

    The learned alpha suits the network it was learned on; one without norm layers, or a deeper one, may not survive it.
    """
    if row["lr_source"] != "learned" or abs(row["loss"] - math.log(row["classes"])) > COLLAPSED:
        return None
    return (
        f"{row['set']} on {row['network']}, seed {row['seed']}: learned nothing (loss {row['loss']:.2f} = ln "
        f"{row['classes']}) at the learned rate {row['lr']:.3g}; try --transfer-lr {row['lr'] / 5:.1g}"
    )


def _result(job: EvaluationJob, data: RealData, training: Training) -> tuple[Score, int | None]:
    arguments = (job.config, data, training.images, training.answers, training.recipe)
    if job.protocol == "peak":
        return train_and_peek(*arguments, role=job.streams, index=job.index, network=job.network)
    watch = TrainingAccuracy() if job.source == "full" else None
    return train_and_score(
        *arguments, role=job.streams, index=job.index, network=job.network, test=True, watch=watch
    ), None

"""Evaluate networks on one small set: train one or several fresh, score each on the real test set (Sec. V-A).

Several are a fixed range of the networks of one set, architecture and protocol (`stages.ensembles`): one that lost some
of its rows is trained whole, and only those are written, a file per network.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ast_ray.config.architectures import architecture
from ast_ray.config.loading import to_dict
from ast_ray.config.settings import Config, NetworkConfig
from ast_ray.core.training import Score, TrainingAccuracy, require_finite_loss, score
from ast_ray.data.real import RealData
from ast_ray.errors import DivergenceError
from ast_ray.stages.device import real_data, resolve_device, torch_threads
from ast_ray.stages.ensembles import fixed_range
from ast_ray.stages.evaluation.training_sets import Training, lr_source, training_set
from ast_ray.stages.evaluation.validation import train_and_peek, train_fresh
from ast_ray.stages.executor import Resources
from ast_ray.storage.containers.documents import write_document
from ast_ray.storage.expert_buffer import Buffer
from ast_ray.storage.folder import Folder
from ast_ray.storage.records.evaluation import whole_entry
from ast_ray.storage.run_directory import EvaluationDirectory
from ast_ray.telemetry.progress import ProgressSink

PROTOCOL = "strict"
# Not part of a row's settings: which rows there are, and full_steps, which is part of the full set's own identity.
_NOT_IN_ROWS = ("networks", "full_networks", "full_steps", "architectures", "protocols", "scores")
Result: TypeAlias = tuple[Score, int | None]
"""A network's score, and the pass it was best at where that was looked for."""
COLLAPSED = 0.02  # nats from the loss of an even guess
_SMALLER_RATE = {
    "real_lr": "lower evaluate.real_lr",
    "given": "lower evaluate.lr (evaluate.transfer_lr on other architectures)",
    "learned": "set evaluate.lr below the learned rate",
    "protocol": "the rate is the protocol's own: leave it out of evaluate.protocols",
}


@dataclass(frozen=True)
class EvaluationJob:
    """Networks on one set that a task is to evaluate: one, or several of one fixed range.

    ``set_name`` is the rows' name; ``source`` is ``random``, ``representative``, ``herding``, ``k-centre``,
    ``forgetting``, ``full`` or a path of a synthetic set. ``indices`` are the networks whose rows are wanted in
    ``folder``. ``token`` names everything else that decides the results; a row with another token is stale and run
    again. ``architecture`` is a network's name, empty for the settings' own; ``role`` names the random streams, so that
    a set keeps its networks under another name. ``together`` is the size of the range: all its networks are trained
    at once, also those that have rows. ``title`` stands for the set in the key. Expert 0 of ``buffer`` extracts the
    features from which representative images are chosen. ``gpu_memory`` is an estimate of one network's bytes.
    """

    set_name: str
    source: str
    config: Config
    indices: tuple[int, ...]
    folder: str
    token: str
    buffer: Buffer = field(hash=False)
    architecture: str = ""
    protocol: str = PROTOCOL
    role: str = ""
    gpu_memory: int = 0
    together: int = 1
    title: str = ""

    @property
    def trained(self) -> tuple[int, ...]:
        """The numbers of all networks that are trained at once, ``indices`` among them."""
        return fixed_range(self.indices, self.together, networks_of(self.config, self.source))

    @property
    def needs(self) -> Resources:
        """One worker, on a GPU that it may share."""
        return Resources(gpu_memory=len(self.trained) * self.gpu_memory)

    @property
    def key(self) -> str:
        """Set and number, or range; between them network and protocol where they are not the usual ones."""
        protocol = "" if self.protocol == PROTOCOL else self.protocol
        words = ("evaluate", self.set_name, self.architecture, protocol)
        first, last = self.indices[0], self.indices[-1]
        name = f"evaluate {self.title}, network" if self.title else " ".join(word for word in words if word)
        return f"{name} {first}" if len(self.indices) == 1 else f"{name} {first} to {last}"

    def row(self, index: int) -> Path:
        """The file of a network's row."""
        return EvaluationDirectory(Path(self.folder)).row(self.set_name, self.label, self.protocol, index)

    @property
    def label(self) -> str:
        """The networks' name in rows."""
        return self.architecture or self.config.network.name

    @property
    def network(self) -> NetworkConfig:
        """The networks' settings."""
        return network_config(self.config, self.architecture)

    @property
    def streams(self) -> str:
        """The role of the networks' random streams."""
        return f"evaluate {self.role or self.set_name}"

    def training(self, data: RealData) -> Training:
        """Return the images and the training of the networks; those trained at once have the same images."""
        index = self.trained[0]
        return training_set(self.source, self.protocol, index, self.config, data, self.buffer, self.network)


def networks_of(config: Config, source: str) -> int:
    """Return the number of networks of each architecture and protocol on a set."""
    return (config.evaluate.full_networks if source == "full" else 0) or config.evaluate.networks


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


def finished_row(job: EvaluationJob, index: int) -> dict[str, Any] | None:
    """Return a network's row if it was evaluated under the same token; a damaged one counts as absent."""
    entry = journal_entry(job, index)
    return entry if entry is not None and "accuracy" in entry else None


def finished_rows(jobs: Iterable[EvaluationJob]) -> list[dict[str, Any]]:
    """Return all rows of jobs that are there."""
    return [row for job in jobs for index in job.indices if (row := finished_row(job, index)) is not None]


def unfinished(jobs: Iterable[EvaluationJob]) -> list[EvaluationJob]:
    """Return the jobs with what they still lack; those that lack nothing are left out."""
    lacking = ((job, tuple(index for index in job.indices if finished_row(job, index) is None)) for job in jobs)
    return [dataclasses.replace(job, indices=indices) for job, indices in lacking if indices]


def networks_in(jobs: Iterable[EvaluationJob]) -> int:
    """Return how many networks jobs are to evaluate."""
    return sum(len(job.indices) for job in jobs)


def journal_entry(job: EvaluationJob, index: int) -> dict[str, Any] | None:
    """Return what stands in a row's place under the same token: the row, or why there is none."""
    entry = whole_entry(job.row(index))
    return dict(entry) if entry is not None and entry["token"] == job.token else None


def evaluate(job: EvaluationJob, _sink: ProgressSink) -> list[dict[str, Any]]:
    """Train fresh networks on a set, score those without a row on the whole test set, publish and return the rows.

    Every protocol but ``peak`` scores once, after the last pass. A network that diverges leaves no row and does not
    keep the others from theirs. Each row has an equal share of the time.

    Raises:
        DivergenceError: of the first network that diverged, once the others are published; names set and network.
    """
    rows = {index: _fetched_row(job, index) for index in job.indices}
    missing = [index for index, row in rows.items() if row is None]
    if missing:
        rows |= _published(job, missing)
    return [row for row in rows.values() if row is not None]


def _fetched_row(job: EvaluationJob, index: int) -> dict[str, Any] | None:
    """`finished_row` of a network whose row another machine may have written."""
    Folder(Path(job.folder)).fetch(job.row(index))
    return finished_row(job, index)


def _published(job: EvaluationJob, missing: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Rows of the missing networks by number."""
    began = time.perf_counter()
    with torch_threads(job.config.compute.threads):
        data = real_data(job.config.data, resolve_device(job.config.compute))
        training = job.training(data)
        results = _results(job, missing, data, training)
    seconds = (time.perf_counter() - began) / len(job.trained)
    scores = {index: found for index, found in results.items() if not isinstance(found, DivergenceError)}
    rows = {index: _publish_row(job, index, data, training, found, seconds) for index, found in scores.items()}
    for index, found in results.items():
        if isinstance(found, DivergenceError):
            raise _diverged(job, index, found) from found
    return rows


def _results(
    job: EvaluationJob, missing: Sequence[int], data: RealData, training: Training
) -> dict[int, Result | DivergenceError]:
    """Train the job's networks; results of the missing ones by number."""
    found = dict[int, Result | DivergenceError]()
    arguments = (job.config, data, training.images, training.answers, training.recipe)
    if job.protocol == "peak":
        for index in missing:
            try:
                found[index] = train_and_peek(*arguments, role=job.streams, index=index, network=job.network)
            except DivergenceError as error:
                found[index] = error
        return found
    members = job.trained
    watches = [TrainingAccuracy() for _ in members] if job.source == "full" else []
    networks = train_fresh(
        *arguments,
        role=job.streams,
        indices=members,
        together=len(members) > 1,
        network=job.network,
        watches=watches,
    )
    for index in missing:
        place = members.index(index)
        network, loss = networks[place]
        try:
            require_finite_loss(loss, training.recipe)
        except DivergenceError as error:
            found[index] = error
        else:
            trend = watches[place].trend() if watches else None
            found[index] = dataclasses.replace(score(network, data.test_images, data.test_labels), trend=trend), None
    return found


def _diverged(job: EvaluationJob, index: int, error: DivergenceError) -> DivergenceError:
    """The error with the names of set and network."""
    network = f"{job.architecture} network" if job.architecture else "network"
    advice = _SMALLER_RATE[lr_source(job.source, job.protocol, job.config, job.network)]
    text = f"set {job.set_name!r}, {network} {index}: {error}; {advice}"
    return DivergenceError(text, reason=error.reason, advice=advice)


def _publish_row(
    job: EvaluationJob, index: int, data: RealData, training: Training, found: Result, seconds: float
) -> dict[str, Any]:
    """Write and return the row of a network that was trained and scored."""
    result, best_pass = found
    recipe, images = training.recipe, len(training.images)
    trend = result.trend
    row = {
        "set": job.set_name,
        "network": job.label,
        "protocol": job.protocol,
        "seed": index,
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
    write_document(job.row(index), row)
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

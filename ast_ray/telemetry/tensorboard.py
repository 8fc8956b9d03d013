"""Writers of TensorBoard's tags; the meaning of each tag is in `glossary`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, Summary, SummaryMetadata
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from ast_ray.config.loading import flatten
from ast_ray.core.methods.base import Report
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.storage.atomic import writing
from ast_ray.storage.folder import Folder
from ast_ray.telemetry.events import events, finish, quiet_writers
from ast_ray.telemetry.glossary import BY_TAG, METRICS
from ast_ray.telemetry.snapshots import grid

# The first screen: did it get better, does the match improve, are the experts good and smooth.
_MARGIN = ["validation/accuracy", "validation/accuracy_minus_std", "validation/accuracy_plus_std"]
LAYOUT = {
    "1 Does the set get better?": {
        "validation accuracy, mean and one deviation": ["Margin", _MARGIN],
        "test accuracy of each network": ["Multiline", ["evaluation/test_accuracy"]],
    },
    "2 Does the student follow the experts?": {
        "relative matching loss (1 = not at all)": ["Multiline", ["match/relative_loss"]],
        "student learning rate alpha": ["Multiline", ["student/lr_alpha"]],
    },
    "3 Are the experts good and smooth?": {
        "accuracy by epoch": ["Multiline", ["expert/validation_accuracy"]],
        "Avg_Var up to each epoch": ["Multiline", ["expert/avg_var"]],
    },
}

EVENTS = "events.out.tfevents.*"
UPLOAD_INTERVAL = 60.0  # seconds between uploads of a growing file of events
_TUNED = ("network", "expert", "distill")
_NOT_TUNED = (
    "distill.log_every",
    "distill.checkpoint_every",
    "distill.gradient",
    "distill.engine",
    "expert.expert_engine",
)


def _scalar(writer: SummaryWriter, tag: str, value: float, step: int) -> None:
    """Write one number with its glossary entry, which TensorBoard shows beside the chart."""
    # TensorBoard's fast loader keeps a description only where the data class is given with it.
    metadata = SummaryMetadata(
        plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"),
        display_name=tag,
        summary_description=BY_TAG[tag].description,
        data_class=DATA_CLASS_SCALAR,
    )
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value, metadata=metadata)])
    _add(writer, summary, step)


def _add(writer: SummaryWriter, summary: Summary, step: int | None = None) -> None:
    events: Any = writer.file_writer  # the one way to write a summary with its own metadata
    events.add_summary(summary, step)


class DistillationBoard:
    """Scalars, image grids and histograms of one distillation."""

    def __init__(self, folder: Path, *, after: int) -> None:
        """Continue the events in ``folder``; anything later than iteration ``after`` is purged."""
        self._folder, self._uploaded = Folder(folder), time.monotonic()
        self._quiet = ExitStack()
        with writing(folder):
            self._writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)
        self._quiet.enter_context(quiet_writers())

    def iteration(self, report: Report) -> None:
        """Log the scalars of one iteration."""
        with writing(self._folder.path):
            for tag, value in report.scalars().items():
                _scalar(self._writer, tag, value, report.iteration)

    def validation(self, iteration: int, accuracies: Sequence[float]) -> None:
        """Log mean and spread of the validation networks' accuracies."""
        mean = statistics.fmean(accuracies)
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        with writing(self._folder.path):
            for tag, value in zip(_MARGIN, (mean, mean - spread, mean + spread), strict=True):
                _scalar(self._writer, tag, value, iteration)

    def images(self, iteration: int, synthetic: SyntheticSet) -> None:
        """Log the set as a grid and as a histogram."""
        with writing(self._folder.path):
            self._writer.add_image("synthetic/images", grid(synthetic), iteration, dataformats="HWC")
            self._writer.add_histogram("synthetic/pixels", synthetic.images, iteration)

    def finish(self, config: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Log the settings that a search would vary beside the final values of ``metrics``."""
        flat = flatten({name: config[name] for name in _TUNED})
        chosen = {name: value for name, value in flat.items() if name not in _NOT_TUNED}
        with writing(self._folder.path):
            for summary in hparams({"seed": config["seed"], **chosen}, dict(metrics)):
                _add(self._writer, summary)

    def publish(self) -> None:
        """Let others see the events so far, at most once a minute."""
        if time.monotonic() - self._uploaded > UPLOAD_INTERVAL:
            with writing(self._folder.path):
                self._writer.flush()
            self._folder.publish()
            self._uploaded = time.monotonic()

    def __enter__(self) -> DistillationBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._quiet:
            if error is not None:
                with suppress(OSError):
                    self._writer.close()
                return
            with writing(self._folder.path):
                finish(self._writer)
        self._folder.publish()


def log_expert(folder: Path, epochs: Sequence[Mapping[str, float]]) -> None:
    """Log the curves of one finished expert: a mapping of tag to value per epoch, from epoch 0; Avg_Var is added."""
    total = 0.0
    with events(folder) as writer:
        for epoch, values in enumerate(epochs):
            for tag, value in values.items():
                if value == value:
                    _scalar(writer, tag, value, epoch)
            move = values.get("expert/move", float("nan"))
            if epoch and move == move:
                total += move
                _scalar(writer, "expert/avg_var", total / epoch, epoch)
    Folder(folder).publish()


def log_overview(folder: Path, settings: str) -> None:
    """Write the layout of the first screen, the settings (YAML) and the glossary, unless they are there."""
    if Folder(folder).list(EVENTS):
        return
    with events(folder) as writer:
        writer.add_custom_scalars(LAYOUT)
        writer.add_text("run/settings", "\n".join(f"    {line}" for line in settings.splitlines()))
        rows = [f"| `{item.tag}` | {item.unit} | {item.meaning} | {item.bad} |" for item in METRICS]
        head = ["| tag | unit | meaning | a bad value |", "|---|---|---|---|"]
        writer.add_text("run/glossary", "\n".join([*head, *rows]))
    Folder(folder).publish()


def log_evaluation(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Log the final table's accuracies, a run per set and network, the networks as steps; replaces earlier ones."""
    for row in rows:
        name = f"{row['set']}-{row['network']}-{row['protocol']}"
        with events(folder / name, purge_step=0) as writer:
            for number, accuracy in enumerate(row["accuracies"]):
                _scalar(writer, "evaluation/test_accuracy", accuracy, number)
    Folder(folder).publish()

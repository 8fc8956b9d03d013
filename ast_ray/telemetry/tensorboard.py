"""What goes to TensorBoard, under which tag."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from ast_ray.core.distillation import IterationReport
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.telemetry.images import grid


class DistillationBoard:
    """Scalars and image grids of one distillation."""

    def __init__(self, folder: Path, *, after: int) -> None:
        """Continue the events in ``folder``; anything later than iteration ``after`` is purged."""
        self._writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)

    def iteration(self, report: IterationReport) -> None:
        """Log the scalars of one iteration."""
        values = {
            "match/loss": report.loss,
            "match/relative_loss": report.relative_loss,
            "match/start_epoch": report.start_epoch,
            "student/lr_alpha": report.student_lr,
            "student/nu": report.nu,
            "gradient/images_norm": report.image_gradient_norm,
            "gradient/alpha": report.lr_gradient,
        }
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, report.iteration)

    def validation(self, iteration: int, accuracy: float, synthetic: SyntheticSet) -> None:
        """Log validation accuracy with the images of that moment."""
        self._writer.add_scalar("validation/accuracy", accuracy, iteration)
        self._writer.add_image("synthetic", grid(synthetic), iteration, dataformats="HWC")
        self._writer.add_histogram("synthetic/pixels", synthetic.images, iteration)

    def __enter__(self) -> DistillationBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def log_expert(folder: Path, epochs: list[Mapping[str, float]]) -> None:
    """Log the curves of one finished expert: a mapping of tag to value per epoch, from epoch 0."""
    with SummaryWriter(str(folder)) as writer:
        for epoch, values in enumerate(epochs):
            for tag, value in values.items():
                if value == value:
                    writer.add_scalar(tag, value, epoch)

"""The HParams page of TensorBoard: one session per trial, in the folder of the trial's own curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from torch.utils.tensorboard.summary import hparams

from ast_ray.telemetry.events import events


def write_hparams(
    folder: Path, values: Mapping[str, object], metrics: Mapping[str, float], *, iteration: int, broken: bool
) -> None:
    """Add a trial that has ended to the page: its hyperparameters, and its metrics at ``iteration``."""
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in values.items()
    }
    experiment, begin, end = hparams(plain, dict(metrics))
    if broken:
        data = HParamsPluginData(session_end_info=SessionEndInfo(status=Status.Value("STATUS_FAILURE")))
        end.value[0].metadata.plugin_data.content = data.SerializeToString()
    with events(folder) as writer:
        files: Any = writer.file_writer
        for summary in (experiment, begin, end):
            files.add_summary(summary)
        for name, value in metrics.items():
            writer.add_scalar(name, value, iteration)

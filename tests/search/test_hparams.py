from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from ast_ray.search.hparams import write_hparams


def plugin_data(folder: Path, tag: str) -> HParamsPluginData:
    events = EventAccumulator(str(folder))
    events.Reload()
    return HParamsPluginData.FromString(events.SummaryMetadata(tag).plugin_data.content)


@pytest.mark.parametrize(("broken", "status"), [(False, "STATUS_SUCCESS"), (True, "STATUS_FAILURE")])
def test_an_ended_trial_is_a_session_with_its_values_and_metrics(tmp_path: Path, broken: bool, status: str) -> None:
    values = {"distill.rho": 0.02, "distill.beta_strategy": "equal", "list": (1, 2)}
    write_hparams(tmp_path, values, {"search/validation_accuracy": 0.75}, iteration=40, broken=broken)
    begin = plugin_data(tmp_path, "_hparams_/session_start_info").session_start_info.hparams
    assert begin["distill.rho"].number_value == 0.02
    assert begin["distill.beta_strategy"].string_value == "equal"
    end = plugin_data(tmp_path, "_hparams_/session_end_info").session_end_info
    assert end.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number[end.status].name == status
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (point,) = events.Scalars("search/validation_accuracy")
    assert (point.step, point.value) == (40, 0.75)

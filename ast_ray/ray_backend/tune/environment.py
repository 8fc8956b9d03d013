"""Environment variables of Ray Tune, set before anything imports Ray: this module imports nothing of it."""

from __future__ import annotations

import os


def quiet_tune() -> None:
    """Keep Tune's own output, log files and working directories out of the way."""
    for name, value in (
        ("RAY_AIR_NEW_OUTPUT", "0"),
        ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1"),
        ("RAY_CHDIR_TO_TRIAL_DIR", "0"),
        ("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0"),
    ):
        os.environ.setdefault(name, value)

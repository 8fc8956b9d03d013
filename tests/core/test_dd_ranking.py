"""DD-Ranking's scores: worked numbers, the ends of the scale, and the package's own code where it is installed."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest

from ast_ray.core.dd_ranking import (
    augmentation_robust_score,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
)


def test_worked_numbers():
    # Synthetic 0.6, random 0.4, full 0.9: IOR 0.2, HLR 0.3, a = 0.1 - 0.15 = -0.05.
    ior, hlr = improvement_over_random(0.6, 0.4), hard_label_recovery(0.9, 0.6)
    assert (ior, hlr) == (pytest.approx(0.2), pytest.approx(0.3))
    assert label_robust_score(ior, hlr) == pytest.approx((0.951229424501 - 0.367879441171) / 2.350402387288)
    # With weight 0.8: a = 0.16 - 0.06 = 0.1.
    assert label_robust_score(ior, hlr, weight=0.8) == pytest.approx((1.105170918076 - 0.367879441171) / 2.350402387288)
    # Better than random by 0.2 with augmentation, 0.4 without: b = 0.3.
    assert augmentation_robust_score(0.2, 0.4) == pytest.approx((1.349858807576 - 0.367879441171) / 2.350402387288)


def test_ends_of_the_scale():
    assert label_robust_score(1.0, -1.0) == pytest.approx(1.0)
    assert label_robust_score(-1.0, 1.0) == pytest.approx(0.0)
    assert augmentation_robust_score(0.0, 0.0) == pytest.approx((1 - 1 / math.e) / (math.e - 1 / math.e))


_THEIRS = """
import json, sys
from ddranking.metrics import hard_label

synthetic, random, full = map(float, sys.argv[1:])
accuracies = iter([(synthetic, 0.01), (full, 0.01), (random, 0.01)])
metric = object.__new__(hard_label.LabelRobustScoreHard)
for name, value in {"num_eval": 1, "eval_full_data": True, "use_dist": False, "rank": 0, "save_path": None}.items():
    setattr(metric, name, value)
metric.ipc, metric.num_classes = 1, 2
for name in ("save_results", "set_seed"):  # the package writes a file and reseeds everything
    setattr(hard_label, name, lambda *_: None)
metric._compute_hard_label_metrics_helper = lambda **_: next(accuracies)
metric._get_random_data_helper = lambda **_: (None, None, None)
print(json.dumps(metric.compute_metrics(image_tensor=None, image_path="x", syn_lr=0.01)))
"""


@pytest.mark.parametrize(("synthetic", "random", "full"), [(0.61, 0.42, 0.9), (0.3, 0.45, 0.8), (0.9, 0.1, 0.88)])
def test_the_package_says_the_same(synthetic, random, full):
    python = Path(__file__).parents[2] / ".venv-ddranking/bin/python"
    if not python.exists():
        pytest.skip("no environment with ddranking (make ddranking)")
    command = [str(python), "-c", _THEIRS, *map(str, (synthetic, random, full))]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(printed.splitlines()[-1])
    ior, hlr = improvement_over_random(synthetic, random), hard_label_recovery(full, synthetic)
    assert found["improvement_over_random_mean"] == pytest.approx(ior)
    assert found["hard_label_recovery_mean"] == pytest.approx(hlr)
    assert found["label_robust_score_mean"] == pytest.approx(label_robust_score(ior, hlr))

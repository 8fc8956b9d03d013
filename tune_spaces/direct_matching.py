"""TESLA: the student's steps, the reach into the experts' trajectories, and the steps of pixels and alpha.

TESLA's gradient leaves out how one step depends on the ones before, so long unrolls cost no more memory and little more
than their steps: N is searched to twice the default. The published rows have M = 2 or 3 and T+ from 5 to 40. All trials
share one buffer of MTT's experts. Labels assigned by an expert are published for ImageNet-1K alone; they are tried.
"""

from ray import tune

param_space = {
    "distill.syn_steps": tune.choice([10, 20, 40, 80]),
    "distill.expert_epochs": tune.choice([1, 2, 3]),
    "distill.max_start_epoch": tune.choice([2, 5, 10]),
    "distill.step_img": tune.loguniform(0.01, 0.25),
    "distill.step_lr": tune.loguniform(0.01, 0.2),
    "direct_matching.assigned_labels": tune.choice([False, True]),
}

settings = {"tune.method": "tesla", "tune.trials": 24, "distill.outer": "normalized", "distill.student_lr": 0.0}

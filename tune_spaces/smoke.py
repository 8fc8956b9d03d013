"""A search in minutes: the digits preset on two cores, to see every part of `ast-ray tune` at work.

Four buffers (lambda linear or constant; mu 0.03 or the preset's 0.1) are shared by all trials. rho is searched around
the preset's value over a decade each way and step_img over a factor of five each way, wide enough for bad trials that
ASHA stops; vartheta and beta are the paper's. A trial has 120 of the preset's iterations; rungs at 30 and 60 keep half
each time.
"""

from ray import tune

param_space = {
    "expert.clip_schedule": tune.choice(["linear", "constant"]),
    "expert.penalty_weight": tune.choice([0.03, 0.1]),
    "distill.rho": tune.loguniform(1e-3, 0.1),
    "distill.vartheta": tune.choice([4.0, 8.0, 16.0]),
    "distill.beta_strategy": tune.choice(["equal", "scaled", "final"]),
    "distill.step_img": tune.loguniform(0.01, 0.25),
}

settings = {
    "distill.outer": "normalized",
    "distill.student_lr": 0.0,
    "tune.trials": 16,
    "tune.budget": 120,
    "tune.grace": 30,
    "tune.report_every": 30,
    "tune.reduction_factor": 2.0,
    "tune.final_configs": 2,
    "tune.final_seeds": 2,
}

"""The ranges that published presets use over data sets, for the published update of pixels and alpha."""

from ray import tune

param_space = {
    "expert.clip_schedule": tune.choice(["linear", "cosine", "step", "constant"]),
    "expert.clip_start": tune.choice([0.3, 0.5, 0.7]),
    "expert.clip_epochs": tune.choice([3, 5, 10]),
    "expert.penalty_weight": tune.choice([0.0, 0.1, 0.3, 1.0, 2.0]),
    "expert.lr": tune.choice([0.003, 0.01, 0.03]),
    "expert.momentum": tune.choice([0.0, 0.5, 0.9]),
    "expert.weight_decay": tune.choice([0.0, 1e-4, 5e-4, 1e-3]),
    "distill.rho": tune.loguniform(1e-3, 0.1),
    "distill.vartheta": tune.loguniform(1.5, 32.0),
    "distill.beta_strategy": tune.choice(["equal", "scaled", "final"]),
    "distill.syn_steps": tune.choice([10, 15, 20, 30, 50, 80]),
    "distill.expert_epochs": tune.choice([2, 3]),
    "distill.max_start_epoch": tune.choice([2, 5, 10, 20, 30, 40]),
    "distill.lr_img": tune.loguniform(10.0, 1e4),
    "distill.lr_lr": tune.loguniform(1e-7, 1e-4),
    "distill.student_lr": tune.loguniform(1e-3, 0.03),
    "distill.init": tune.choice(["representative", "random-real", "noise"]),
}

settings = {"distill.outer": "sgd", "tune.trials": 40, "tune.buffers": 8, "tune.final_configs": 0}

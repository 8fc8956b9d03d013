"""Everything that trajectory matching is known to be sensitive to: `ast_core` and the schedule, rates and experts.

Bounds span what published presets use over data sets (MTT, FTD, DATM and AST's own code), a little widened:
N 10..80 student steps, M 2..3 expert epochs, T+ 2..40 start epochs, lr_img 10..1e4, lr_lr 1e-7..1e-4,
alpha0 0.001..0.03; expert rate 0.003..0.03 with momentum 0, 0.5 or 0.9 and weight decay 0 or up to 1e-3; the three
initialisations.
T+ + M - 1 must not exceed the experts' epochs: draws that do are recorded as invalid and cost nothing.

Rates interact (a larger alpha0 wants a smaller N), which random search and TPE handle and one-at-a-time sweeps do not:
use at least a hundred trials, better with ``--searcher optuna``. Expert settings are limited to eight buffers.
"""

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

settings = {"tune.trials": 128, "tune.buffers": 8}

"""Everything that trajectory matching is known to be sensitive to: `ast_core` and the schedule, rates and experts.

Bounds of the student and of the experts span what published presets use over data sets (MTT, FTD, DATM and AST's own
code), a little widened: N 10..80 student steps, M 2..3 expert epochs, T+ 2..40 start epochs; expert rate 0.003..0.03
with momentum 0, 0.5 or 0.9 and weight decay 0 or up to 1e-3; the three initialisations. A drawn T+ beyond what the
experts' epochs allow is the largest that they allow.

The outer steps are those of ``distill.outer = normalized``, which carry no scale of the cell: step_img 0.01..0.2
standard deviations of the images per iteration, step_lr 0.02..0.1 of log(alpha). alpha_0 is not searched: it is chosen
from how far the drawn experts move. The published rates (lr_img 10..1e4, lr_lr 1e-7..1e-4) fit one cell each: of random
draws from those ranges most end within a few iterations with a negative alpha.

Use at least a hundred trials, better with ``--searcher optuna``. Expert settings are limited to eight buffers.
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
    "distill.step_img": tune.loguniform(0.01, 0.2),
    "distill.step_lr": tune.loguniform(0.02, 0.1),
    "distill.init": tune.choice(["representative", "random-real", "noise"]),
}

settings = {"tune.trials": 128, "tune.buffers": 8, "distill.outer": "normalized", "distill.student_lr": 0.0}

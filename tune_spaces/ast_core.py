"""AST's own hyperparameters: the five that make smooth experts and a student that can follow them.

lambda (clipped-loss schedule, its start and length) and mu (gradient penalty) shape the experts: the paper has a linear
rise from 0.5 over 5 epochs and mu = 1; its published code rises to 0.95 over 10 and uses 2. mu is searched downwards as
well, since on small data a strong penalty costs accuracy. Every distinct (lambda, mu) needs a buffer of its own, by far
the larger cost, so trials share six of them (`tune.buffers`), the preset's own included.

rho (weight perturbation): the paper's 0.1 drowns the match on small networks, where 0.01 was best: log-uniform between
0.001 and 0.1. vartheta (offset in the balanced loss): above 1 by definition, flat from about 30 on; the paper uses 8.
beta (weights of the matching points): the paper's `equal`, its alternative `scaled`, and `final`, which is MTT.
"""

from ray import tune

param_space = {
    "expert.clip_schedule": tune.choice(["linear", "cosine", "step", "constant"]),
    "expert.clip_start": tune.choice([0.3, 0.5, 0.7]),
    "expert.clip_epochs": tune.choice([3, 5, 10]),
    "expert.penalty_weight": tune.choice([0.0, 0.1, 0.3, 1.0, 2.0]),
    "distill.rho": tune.loguniform(1e-3, 0.1),
    "distill.vartheta": tune.loguniform(1.5, 32.0),
    "distill.beta_strategy": tune.choice(["equal", "scaled", "final"]),
}

settings = {"tune.trials": 32, "tune.buffers": 6, "distill.outer": "normalized", "distill.student_lr": 0.0}

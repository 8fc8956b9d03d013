"""FTD: the radius and coefficient of its sharpness-aware experts, the average of the images, and the step.

The published radius is 0.01, searched over a decade around it; the coefficient of the orthogonal part is 0.3 or 1 in
the paper, and hardly matters by the word of a later author. Every pair needs a buffer of its own, by far the larger
cost; there are six of them, which trials share. The decay of the average follows from the number of iterations (0), or
is shorter. `distill.step_img` is searched a factor of five each way around its default.
"""

from ray import tune

param_space = {
    "flat_trajectories.rho": tune.choice([0.003, 0.01, 0.03]),
    "flat_trajectories.alpha": tune.choice([0.3, 1.0]),
    "flat_trajectories.average": tune.choice([0.0, 0.9, 0.97]),
    "distill.step_img": tune.loguniform(0.01, 0.25),
    "distill.syn_steps": tune.choice([10, 20, 40]),
}

settings = {
    "tune.method": "ftd",
    "tune.trials": 24,
    "distill.outer": "normalized",
    "distill.student_lr": 0.0,
}

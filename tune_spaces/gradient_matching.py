"""DSA, and DC with `tune.method = dc`: the step, and how a network lives between updates.

`distill.step_img` is searched a factor of five each way around its default of 0.05. The papers give a network as many
updates as there are images per class (`updates` 0) and train it for 1, 10 or 50 epochs between two of them; shorter
lives and fewer epochs cost less and see fresher networks. The rate of that training is 0.01 in the papers. The papers
take 256 real images per class; fewer make the matched gradient noisier.
"""

from ray import tune

param_space = {
    "distill.step_img": tune.loguniform(0.01, 0.25),
    "gradient_matching.updates": tune.choice([0, 1, 3, 10]),
    "gradient_matching.epochs": tune.choice([1, 5, 10, 50]),
    "gradient_matching.lr_net": tune.loguniform(1e-3, 0.1),
    "gradient_matching.real_batch": tune.choice([32, 64, 128, 256]),
}

settings = {"tune.method": "dsa", "tune.trials": 24, "distill.outer": "normalized"}

"""CAFE: the step, the weight of the discrimination loss, and the two thresholds that drive its loops.

`distill.step_img` is searched a factor of five each way around its default of 0.05; the weight of the discrimination
loss over two decades around the code's 0.01. A larger `settled` ends networks' lives earlier (code: 0.04), a smaller
`moved` their training (code: 0.03). `inner_limit` bounds an iteration's cost: a network that has converged moves no
more. Shared augmentation is the published variant CAFE+DSA, and real images as a start are its option.
"""

from ray import tune

param_space = {
    "distill.step_img": tune.loguniform(0.01, 0.25),
    "feature_alignment.discrimination": tune.loguniform(1e-3, 0.1),
    "feature_alignment.settled": tune.choice([0.02, 0.04, 0.08]),
    "feature_alignment.moved": tune.choice([0.01, 0.03]),
    "feature_alignment.inner_limit": tune.choice([10, 20, 50]),
    "feature_alignment.augmented": tune.choice([True, False]),
    "feature_alignment.init": tune.choice(["noise", "random-real"]),
}

settings = {"tune.method": "cafe", "tune.trials": 24, "distill.outer": "normalized"}

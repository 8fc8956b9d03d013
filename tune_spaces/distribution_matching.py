"""DM: how far the images move per update, and what they begin from.

`distill.step_img`, the largest root mean square of an update in standard deviations of the real images, is searched a
factor of five each way around its default of 0.05: published runs take 20,000 small updates, a search takes far fewer.
More real images per class make the means less noisy and cost time; the paper takes 256. The paper starts from real
images; noise is tried as well. Augmentation is shared by real and synthetic images, `none` switches it off.
"""

from ray import tune

param_space = {
    "distill.step_img": tune.loguniform(0.01, 0.25),
    "distribution_matching.real_batch": tune.choice([32, 64, 128, 256]),
    "distribution_matching.init": tune.choice(["random-real", "noise"]),
}

settings = {"tune.method": "dm", "tune.trials": 16, "distill.outer": "normalized"}

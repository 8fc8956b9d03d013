"""FRePo: the rate of LAMB, the ridge, the pool, and whether mirrored images are joined.

LAMB moves images and labels by its rate times their own norm, whatever the gradient. The paper takes 3e-4 for 500,000
iterations; a search of hundreds of iterations needs ten to a hundred times as much, so the rate is searched from the
published one to 0.05. A larger ridge steadies a kernel of similar features. Networks of the pool are replaced after 100
steps in the paper; younger ones differ more. The paper takes 1,024 real images at once.
"""

from ray import tune

param_space = {
    "feature_regression.lr": tune.loguniform(3e-4, 0.05),
    "feature_regression.ridge": tune.loguniform(1e-6, 1e-2),
    "feature_regression.pool": tune.choice([3, 10]),
    "feature_regression.max_age": tune.choice([20, 50, 100]),
    "feature_regression.lr_net": tune.loguniform(1e-4, 3e-3),
    "feature_regression.flip": tune.choice([True, False]),
}

settings = {"tune.method": "frepo", "tune.trials": 24}

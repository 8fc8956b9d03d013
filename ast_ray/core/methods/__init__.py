"""The distillation method: segments, matching, balance, perturbation, and the outer update."""

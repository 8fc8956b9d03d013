"""What a distillation method computes: segments, matching, balance, perturbation, and the outer update."""

"""Artefacts on disk: expert trajectories, synthetic sets, checkpoints. Atomic, fingerprinted, never unpickled.

Imports nothing here, so that `atomic` and `trajectory` can be used without torch.
"""

"""Artefacts on disk: expert trajectories, synthetic sets, checkpoints. Atomic, fingerprinted, never unpickled."""

from ast_ray.store.atomic import atomic_path, write_json, write_text
from ast_ray.store.buffer import Buffer, ExpertSummary
from ast_ray.store.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from ast_ray.store.synthetic import load_synthetic, save_synthetic
from ast_ray.store.trajectory import TrajectoryWriter, read_segment

__all__ = [
    "Buffer",
    "Checkpoint",
    "ExpertSummary",
    "TrajectoryWriter",
    "atomic_path",
    "load_synthetic",
    "read_checkpoint",
    "read_segment",
    "save_synthetic",
    "write_checkpoint",
    "write_json",
    "write_text",
]

"""Distillation jobs: the loop, its checkpoint, prefetching, publishing, and teams of processes."""

"""How much of a GPU's memory a run's jobs take: the estimate of `config.cost` for the images at hand."""

from __future__ import annotations

from ast_ray.config.cost import JobMemory, job_memory
from ast_ray.config.datasets import DatasetFacts
from ast_ray.config.settings import Config
from ast_ray.data.real import RealData


def run_memory(config: Config, data: RealData) -> JobMemory:
    """Estimate the memory of one expert and of one evaluation."""
    channels, side, _ = data.image_shape
    train = len(data.train_labels) + len(data.validation_labels)
    return job_memory(config, DatasetFacts("", data.classes, channels, side, train, len(data.test_labels)))

"""Facts about datasets that need no opening: classes, size, counts. Presets and estimates start from them."""

from __future__ import annotations

from dataclasses import dataclass

from ast_ray.config.settings import DSA_ALL, DataConfig


@dataclass(frozen=True)
class DatasetFacts:
    """Classes K, channels C, pixels per side, images per split; ``mirror``: a mirrored image keeps its class.

    ``cells`` names the dataset in the published tables (empty: none of them has it).
    """

    name: str
    classes: int
    channels: int
    image_size: int
    train: int
    test: int
    mirror: bool = True
    cells: str = ""

    @property
    def augmentation(self) -> str:
        """The DSA operations that make sense: no colour on grey images, no flip where left and right matter."""
        dropped = {"color"} if self.channels == 1 else set()
        dropped |= set() if self.mirror else {"flip"}
        return "_".join(name for name in DSA_ALL.split("_") if name not in dropped)

    @property
    def data(self) -> DataConfig:
        """The settings that open it by name."""
        if self.name in SUBSETS:
            return DataConfig(source="imagenet", subset=self.name, image_size=self.image_size)  # type: ignore[arg-type]
        return DataConfig(source=self.name)


SUBSETS = ("nette", "woof", "fruit", "meow", "squawk", "yellow")

# ILSVRC has up to 1,300 training and 50 validation images per class.
_SUBSET_FACTS = tuple(DatasetFacts(name, 10, 3, 128, 13_000, 500, cells=name) for name in SUBSETS)

DATASETS: dict[str, DatasetFacts] = {
    facts.name: facts
    for facts in (
        DatasetFacts("digits", 10, 1, 8, 1297, 500, mirror=False),
        DatasetFacts("mnist", 10, 1, 28, 60_000, 10_000, mirror=False),
        DatasetFacts("fashion-mnist", 10, 1, 28, 60_000, 10_000),
        DatasetFacts("svhn", 10, 3, 32, 73_257, 26_032, mirror=False),
        DatasetFacts("cifar10", 10, 3, 32, 50_000, 10_000, cells="cifar10"),
        DatasetFacts("cifar100", 100, 3, 32, 50_000, 10_000, cells="cifar100"),
        DatasetFacts("tiny-imagenet", 200, 3, 64, 100_000, 10_000, cells="tiny"),
        *_SUBSET_FACTS,
    )
}

# Values of ``data.source`` that name a dataset; anything else is a path.
NAMED_SOURCES = tuple(dict.fromkeys(facts.data.source for facts in DATASETS.values()))

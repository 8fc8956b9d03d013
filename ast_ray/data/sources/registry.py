"""From ``data.source`` and ``data.subset`` to a source."""

from __future__ import annotations

from pathlib import Path

from ast_ray.config.datasets import NAMED_SOURCES
from ast_ray.config.files import file_problem
from ast_ray.config.settings import DataConfig
from ast_ray.data.sources.arrays import npz_file
from ast_ray.data.sources.base import Source
from ast_ray.data.sources.digits import digits
from ast_ray.data.sources.image_folder import image_folder, walked
from ast_ray.data.sources.imagenet import imagenet_subset
from ast_ray.data.sources.parquet import parquet_source
from ast_ray.data.sources.tiny_imagenet import FOLDER, is_tiny_imagenet, tiny_imagenet
from ast_ray.data.sources.torchvision import NAMES as TORCHVISION
from ast_ray.data.sources.torchvision import torchvision_dataset
from ast_ray.errors import ConfigError, DataError, Problem, suggestion


def open_source(config: DataConfig) -> Source:
    """Find the source by name or path; nothing is decoded yet.

    Raises:
        ConfigError: neither a known name nor an existing path, or a subset of a source without any;
        DataError: a layout that is none of those known.
    """
    root = Path(config.root).expanduser()
    if config.source in NAMED_SOURCES and config.source != "imagenet":
        _refuse_subset(config, config.source)
    if config.source == "digits":
        return digits()
    if config.source in TORCHVISION:
        return torchvision_dataset(config.source, root / config.source, download=config.download)
    if config.source == "tiny-imagenet":
        return tiny_imagenet(_placed(root / FOLDER, "tiny-imagenet"))
    if config.source == "imagenet":
        if not config.subset:
            raise ConfigError([Problem("data.subset", "", "imagenet needs a subset: nette, woof, fruit, ...")])
        return imagenet_subset(_placed(root / "imagenet", "imagenet"), config.subset)
    path = Path(config.source).expanduser()
    if not path.exists():
        reason = f"neither a known dataset nor an existing path{suggestion(config.source, NAMED_SOURCES)}"
        raise ConfigError([Problem("data.source", config.source, reason)])
    return _open_path(path.resolve(), config)


def image_trees(config: DataConfig) -> list[Path]:
    """Return the folders below which every picture is taken for one of the source's, where it is a folder of images."""
    path = Path(config.source).expanduser()
    if config.source in NAMED_SOURCES or config.subset or not path.is_dir():
        return []
    path = path.resolve()
    return [] if is_tiny_imagenet(path) or _holds_shards(path) else walked(path)


def _holds_shards(path: Path) -> bool:
    return any(path.glob("*.parquet")) or any(path.glob("data/*.parquet"))


def _refuse_subset(config: DataConfig, what: str) -> None:
    """Refuse a subset of a source without any: it would be ignored, and the whole source be taken for it."""
    if config.subset:
        reason = f"{what} has no subsets; they are of imagenet, or of a folder laid out like it. Empty = all of {what}"
        raise ConfigError([Problem("data.subset", config.subset, reason)])


def _placed(folder: Path, name: str) -> Path:
    if folder.is_dir():
        return folder
    raise DataError(f"{name}: cannot be downloaded; extract it to {folder}, or give its folder as data.source")


def _open_path(path: Path, config: DataConfig) -> Source:
    if path.is_file():
        if path.suffix not in (".npz", ".parquet"):
            raise DataError(f"{path}: a file of an unknown kind (expected .npz or .parquet, or a folder)")
        _refuse_subset(config, str(path))
        return npz_file(path) if path.suffix == ".npz" else parquet_source(path)
    if not path.is_dir():
        raise DataError(f"{path}: {file_problem(path)}")
    tiny = is_tiny_imagenet(path)
    if tiny or _holds_shards(path):
        _refuse_subset(config, str(path))
        return tiny_imagenet(path) if tiny else parquet_source(path)
    if config.subset:
        return imagenet_subset(path, config.subset)
    return image_folder(path)

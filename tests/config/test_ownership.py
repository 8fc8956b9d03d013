from __future__ import annotations

from pathlib import Path

import pytest

from ast_ray.config import ComputeConfig, Config, TuneConfig, schema, to_dict
from ast_ray.config.datasets import NAMED_SOURCES
from ast_ray.config.ownership import check_source, computed, from_elsewhere, published
from ast_ray.config.settings import DataConfig
from ast_ray.data.sources import open_source
from ast_ray.errors import AstRayError, ConfigError

THEIRS = {
    "seed": 7,
    "preset": "digits",
    "compute": {"address": "203.0.113.5:6379", "store": "s3://bucket/x?endpoint_override=203.0.113.5", "workers": 9},
    "tune": {"space": "/theirs/space.py"},
    "data": {"source": "mnist", "root": "/theirs", "placement": "stream", "download": True, "train_size": 50},
    "distill": {"ipc": 3},
}


def test_only_what_was_computed_is_taken() -> None:
    config = from_elsewhere(THEIRS, {})
    assert (config.seed, config.distill.ipc, config.data.source, config.data.train_size) == (7, 3, "mnist", 50)
    assert config.compute == ComputeConfig()
    assert config.tune == TuneConfig()
    assert (config.data.root, config.data.placement) == (DataConfig().root, "auto")
    assert config.data.download is False


@pytest.mark.parametrize(
    "values",
    [
        {"address": "203.0.113.5:6379", "store": "s3://x/y", "root": "/theirs", "download": True, "space": "/x.py"},
        {"compute.address": "203.0.113.5:6379", "compute.store": "s3://x/y", "data.root": "/theirs"},
        {"experts-together": 3, "gpus_per_task": 1},
    ],
)
def test_other_names_of_a_setting_are_no_way_around(values: dict[str, object]) -> None:
    config = from_elsewhere({"seed": 3, **values}, {"compute.workers": 2})
    assert config.seed == 3
    assert config.compute == ComputeConfig(workers=2)
    assert config.tune == TuneConfig()
    assert (config.data.root, config.data.download) == (DataConfig().root, False)


def test_every_setting_of_where_belongs_to_the_user() -> None:
    """A setting that comes later has to be put on one side or the other."""
    taken = {name for name in schema() if not name.startswith(("compute.", "tune."))}
    flat = {f"{section}.{name}" for section, values in computed(to_dict(Config())).items() if isinstance(values, dict)
            for name in values}  # fmt: skip
    assert flat | {"seed", "preset"} == taken - {"data.root", "data.download", "data.placement"}


def test_what_the_user_gives_counts(tmp_path: Path) -> None:
    given = {"compute.workers": 2, "data.root": str(tmp_path), "seed": "8"}
    config = from_elsewhere(THEIRS, given)
    assert (config.compute.workers, config.data.root, config.seed) == (2, str(tmp_path), 8)
    assert config.data.download is False
    assert from_elsewhere(THEIRS, {"data.download": "true"}).data.download is True
    assert from_elsewhere(THEIRS, {"data.source": "mnist"}).data.download is True


def test_a_path_is_not_read_on_the_word_of_a_file() -> None:
    for source in ("/home/you/photos", "photos", "~/photos", "../x", "mnist/"):
        config = from_elsewhere({"data": {"source": source}}, {})
        with pytest.raises(ConfigError, match=r"data\.source = .*name it yourself: --source"):
            check_source(config, {})
        check_source(config, {"data.source": source})
    for name in NAMED_SOURCES:
        check_source(from_elsewhere({"data": {"source": name}}, {}), {})


def test_what_holds_no_settings_is_an_error() -> None:
    for values in (None, [], "text", {"data": 3}, {"unknown": {"x": 1}}):
        with pytest.raises(ConfigError):
            from_elsewhere(values, {})


def test_a_set_that_is_handed_on_names_no_folder_of_this_machine() -> None:
    for source, shown in (
        ("/home/me/photos", "photos"),
        ("photos/", "photos"),
        ("/", "images"),
        ("cifar10", "cifar10"),
    ):
        values = published({"data": {"source": source, "root": "/home/me/.cache"}, "compute": {"store": "/home/me/x"}})
        assert values == {"data": {"source": shown}}


@pytest.mark.parametrize("name", NAMED_SOURCES)
def test_a_name_is_never_taken_for_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name / "train").mkdir(parents=True)
    settings = DataConfig(source=name, root=str(tmp_path / "root"), download=False)
    if "imagenet" in name:  # looked for under the root, not here
        with pytest.raises(AstRayError, match=r"needs a subset|tiny-imagenet: cannot be downloaded; extract it to"):
            open_source(settings)
    else:
        assert open_source(settings).name == name

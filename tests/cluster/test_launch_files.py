"""The `ray up` files: valid by Ray's own schema, with their options switched on too, and closed to the world."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NAMES = ("aws", "gcp", "onprem")


def load(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / f"cluster/{name}.yaml").read_text("utf-8")))


def with_options(name: str) -> dict[str, Any]:
    """The file with the # taken off every option; a key is one word and a colon, or a list item."""
    lines = (ROOT / f"cluster/{name}.yaml").read_text("utf-8").splitlines()
    key = re.compile(r"^(\s*)# (\s*(?:- .+|(?:- )?[A-Za-z_]+:(?: .+)?))$")
    kept = [match[1] + match[2] if (match := key.match(line)) else line for line in lines]
    return dict(yaml.safe_load("\n".join(kept)))


def validate(config: dict[str, Any]) -> dict[str, Any]:
    """Ray's own preparation and schema; private, so a Ray without them skips the test."""
    util = pytest.importorskip("ray.autoscaler._private.util")
    prepared = util.prepare_config(copy.deepcopy(config))
    util.validate_config(prepared)
    return dict(prepared)


@pytest.mark.parametrize("name", NAMES)
def test_ray_accepts_the_file(name: str) -> None:
    assert validate(load(name))["cluster_name"] == "ast-ray"


@pytest.mark.parametrize(("name", "options"), [("aws", 12), ("gcp", 9), ("onprem", 3)])
def test_ray_accepts_the_file_with_its_options(name: str, options: int) -> None:
    plain, full = load(name), with_options(name)
    assert _leaves(full) - _leaves(plain) >= options
    validate(full)


def _leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_leaves, value.values()))
    return sum(map(_leaves, value)) if isinstance(value, list) else 1


@pytest.mark.parametrize("name", NAMES)
def test_a_misspelt_key_would_be_noticed(name: str) -> None:
    import jsonschema

    with pytest.raises(jsonschema.ValidationError):
        validate({**load(name), "max_wrkers": 3})


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_gpus_come_from_zero_and_go_for_good(name: str) -> None:
    config = load(name)
    kinds = config["available_node_types"]
    assert kinds["gpu"]["min_workers"] == 0
    assert kinds["gpu"]["max_workers"] == config["max_workers"]
    assert kinds["gpu"]["resources"]["GPU"] == 1
    assert kinds[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert config["provider"].get("cache_stopped_nodes", False) is False
    assert all(disk["autoDelete"] for kind in kinds.values() for disk in kind["node_config"].get("disks", ()))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_open_to_the_world(name: str) -> None:
    config, text = load(name), (ROOT / f"cluster/{name}.yaml").read_text("utf-8")
    start = config["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in start
    assert "--disable-usage-stats" in start
    assert "0.0.0.0" not in text
    assert "security_group" not in config["provider"]
    token = [*config.get("docker", {}).get("run_options", ()), *config.get("initialization_commands", ())]
    assert any("RAY_AUTH_MODE=token" in line for line in token)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_gets_the_pinned_package(name: str) -> None:
    config = load(name)
    assert config["file_mounts"]["~/ast-ray"] == "build/cluster"
    installs = [line for line in config["setup_commands"] if "pip install" in line and "constraints.txt" in line]
    assert installs
    image = config.get("docker", {}).get("image", "")
    pins = (ROOT / "constraints.txt").read_text("utf-8")
    assert not image or f"ray=={image.partition(':')[2].partition('-')[0]}" in pins
    assert "ray==" + version("ray") in pins


def test_preparing_makes_what_the_files_send(tmp_path: Path) -> None:
    """The script is read, not run: it builds a wheel, which takes a network."""
    text = (ROOT / "cluster/prepare.sh").read_text("utf-8")
    words = shlex.split(text, comments=True)
    assert "build/cluster" in words
    assert "constraints.txt" in words
    assert subprocess.run(["sh", "-n", str(ROOT / "cluster/prepare.sh")]).returncode == 0
    assert "umask 077" in text
    assert sys.version_info[:2] == (3, 11) or "python3.11" in (ROOT / "cluster/onprem.yaml").read_text("utf-8")

"""The KubeRay manifests against the API's fields, and what belongs together across the files."""

from __future__ import annotations

import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.docs.test_commands import check_settings, parsed

FOLDER = Path(__file__).parents[2] / "cluster/kuberay"
SCHEMA = json.loads((Path(__file__).parent / "kuberay.schema.json").read_text("utf-8"))
MANIFESTS = ("raycluster.yaml", "rayjob.yaml", "store.yaml")
_OPTION = re.compile(r"^(\s*)# ((?:- )?(?:\{|[a-zA-Z]+: ).*|[a-zA-Z]+:)$")


def load(name: str, *, options: bool = False) -> dict[str, Any]:
    lines = (FOLDER / name).read_text("utf-8").splitlines()
    if options:
        # "  #   - {...}" continues a list that a commented key began.
        lines = [re.sub(r"^(\s*)#   - ", r"\1  - ", line) for line in lines]
        lines = [match[1] + match[2] if (match := _OPTION.match(line)) else line for line in lines]
    return dict(yaml.safe_load("\n".join(lines)))


def cluster(name: str) -> dict[str, Any]:
    spec = load(name)["spec"]
    return dict(spec.get("rayClusterSpec", spec))


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_api_has_these_fields(name: str) -> None:
    jsonschema.validate(load(name), SCHEMA)


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_api_has_the_optional_fields_too(name: str) -> None:
    full = load(name, options=True)
    assert full != load(name)
    jsonschema.validate(full, SCHEMA)


def test_a_wrong_manifest_would_be_noticed() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for path, value in (
        (("spec", "rayClusterSpec", "autoscalerOption"), {}),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("apiVersion",), "ray.io/v1alpha1"),
    ):
        wrong = copy.deepcopy(load("rayjob.yaml"))
        place: Any = wrong
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA)


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_closed_and_scaled_from_zero(name: str) -> None:
    found = cluster(name)
    assert found["authOptions"] == {"mode": "token"}
    assert found["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert found["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in found["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == 0
    for pod in (found["headGroupSpec"], *found["workerGroupSpecs"]):
        assert pod["template"]["spec"]["securityContext"]["runAsNonRoot"]
        for container in pod["template"]["spec"]["containers"]:
            assert container["resources"]["limits"] == container["resources"]["requests"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["template"]["spec"]["volumes"]}


def test_both_describe_the_same_cluster() -> None:
    assert cluster("raycluster.yaml") == cluster("rayjob.yaml")


def test_one_ray_everywhere() -> None:
    pins = (FOLDER.parents[1] / "constraints.txt").read_text("utf-8")
    ray = re.findall(r"^ray==(.*)$", pins, re.MULTILINE)[0]
    assert cluster("rayjob.yaml")["rayVersion"] == ray
    assert f"FROM rayproject/ray:{ray}-" in (FOLDER / "Dockerfile").read_text("utf-8")


def test_the_jobs_command_is_one() -> None:
    words = shlex.split(load("rayjob.yaml")["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "ast_ray"]
    check_settings(parsed(words[3:]))
    assert words[words.index("--address") + 1] == "auto"
    assert words[words.index("--out") + 1].startswith("/mnt/store/")


INSTRUCTIONS = ("FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ARG", "LABEL", "CMD", "ENTRYPOINT")


def problems(text: str) -> list[str]:
    """What a linter says of a Dockerfile as short as ours: instructions, pins, who runs, what is copied."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    found = [f"unknown instruction: {line}" for line in lines if line.split()[0] not in INSTRUCTIONS]
    if not lines or not lines[0].startswith("FROM "):
        found.append("starts with FROM")
    for line in lines:
        name, _, rest = line.partition(" ")
        if name == "FROM" and (":" not in rest or rest.endswith(":latest")):
            found.append(f"a version: {line}")
        if name == "RUN" and "pip install" in rest and ("--no-cache-dir" not in rest or " -c " not in rest):
            found.append(f"pip without --no-cache-dir or constraints: {line}")
        if name == "RUN" and ("sudo" in rest.split() or "curl" in rest.split()):
            found.append(f"neither sudo nor downloads: {line}")
        if name == "COPY":
            sources = [word for word in rest.split() if not word.startswith("--")][:-1]
            found += [f"not in the checkout: {item}" for item in sources if not (FOLDER.parents[1] / item).exists()]
    users = [line for line in lines if line.startswith("USER ")]
    if not users or users[-1].split()[1] in ("root", "0"):
        found.append("runs as root")
    return found


def test_the_dockerfile() -> None:
    assert problems((FOLDER / "Dockerfile").read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("FROM ray", "a version"),
        ("FORM ray:1", "unknown instruction"),
        ("FROM ray:1\nRUN pip install x\nUSER 1", "pip without"),
        ("FROM ray:1\nCOPY nothing-here .\nUSER 1", "not in the checkout"),
        ("FROM ray:1", "runs as root"),
    ],
)
def test_a_bad_dockerfile_would_be_noticed(line: str, says: str) -> None:
    assert any(item.startswith(says) for item in problems(line))

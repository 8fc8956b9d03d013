"""Networks by name."""

from __future__ import annotations

import pytest

from ast_ray.config import Config, NetworkConfig, apply_overrides, problems_of
from ast_ray.config.architectures import EXAMPLES, architecture, norm_of

BASE = NetworkConfig(width=32, depth=2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("convnet", NetworkConfig(width=32, depth=2)),
        ("convnet-w64", NetworkConfig(width=64, depth=2)),
        ("convnet-d4-w16-bn", NetworkConfig(width=16, depth=4, norm="batch")),
        ("convnet-nn", NetworkConfig(width=32, depth=2, norm="none")),
        ("resnet18", NetworkConfig(name="resnet18")),
        ("resnet18-bn", NetworkConfig(name="resnet18", norm="batch")),
        ("alexnet-in", NetworkConfig(name="alexnet", norm="instance")),
        ("mlp-w256-d3", NetworkConfig(name="mlp", width=256, depth=3)),
        ("vit", NetworkConfig(name="vit")),
    ],
)
def test_a_name_is_a_network(text, expected):
    assert architecture(text, BASE) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet", "unknown network; did you mean 'resnet18'?"),
        ("convent", "unknown network; did you mean 'convnet'?"),
        ("vgg11-w64", "vgg11 has no variant 'w64'"),
        ("convnet-w0", "convnet has no variant 'w0'"),
        ("convnet-w1000000", "must be at most 4096"),
        ("vit-d9", "must be at most 8"),
        ("mlp-bn", "mlp has no variant 'bn'"),
        ("resnet18-nn", "resnet18 has no variant 'nn'"),
    ],
)
def test_an_unusable_name_says_why(text, message):
    with pytest.raises(ValueError, match="^" + message.replace("?", r"\?")):
        architecture(text, BASE)


def test_examples_are_names():
    for text in EXAMPLES:
        assert architecture(text, BASE).name == text.partition("-")[0]


def test_a_network_has_its_own_norm_unless_told():
    assert norm_of(NetworkConfig(name="alexnet")) == "none"
    assert norm_of(NetworkConfig(name="vgg11")) == "instance"
    assert norm_of(NetworkConfig(name="vgg11", norm="batch")) == "batch"


def test_all_problems_of_networks_are_told_at_once():
    config = apply_overrides(Config(), {"network.norm": "batch", "architectures": "vgg12,mlp", "protocols": "none"})
    told = {problem.setting: problem for problem in problems_of(config)}
    assert set(told) == {"network.norm", "evaluate.architectures", "evaluate.protocols"}
    assert "running statistics" in told["network.norm"].reason
    assert told["evaluate.architectures"].value == "vgg12"
    assert "did you mean 'vgg11'" in told["evaluate.architectures"].reason


def test_a_student_can_be_any_network_without_running_statistics():
    for name in ("alexnet", "vgg11", "resnet18", "mlp", "vit"):
        assert problems_of(apply_overrides(Config(), {"network.name": name})) == []
    (problem,) = problems_of(apply_overrides(Config(), {"network.name": "mlp", "network.norm": "instance"}))
    assert problem.reason == "mlp has no such variant; valid: default, none"

"""Every architecture: parameters, shapes, gradients, initialisation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ast_ray.config import NetworkConfig
from ast_ray.config.architectures import architecture
from ast_ray.core.networks import Network, build
from ast_ray.core.networks.layers import late_poolings
from ast_ray.core.networks.vit import patch_size
from ast_ray.core.parameters import FlatSpec, call, flatten
from ast_ray.core.rng import stream
from ast_ray.errors import ConfigError

NAMES = ("convnet", "alexnet", "vgg11", "resnet18", "mlp", "vit")
VARIANTS = (*NAMES, "convnet-bn", "alexnet-bn", "vgg11-bn", "resnet18-bn", "convnet-w64", "convnet-d2", "convnet-nn")


def make(name: str, shape: tuple[int, int, int] = (1, 8, 8), classes: int = 10, seed: int = 0) -> Network:
    return build(architecture(name, NetworkConfig()), shape, classes, stream(seed, "test"))


@pytest.fixture(scope="module")
def small() -> dict[str, Network]:
    """Every variant for grey 8x8 images."""
    return {name: make(name) for name in VARIANTS}


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# By hand, 10 classes, 3x32x32. Convolution k*k*in*out + out, norm 2*out, linear in*out + out.
ALEXNET = 9_728 + 614_592 + 442_624 + 442_560 + 331_968 + 30_730
VGG11_CONVOLUTIONS = 1_792 + 73_856 + 295_168 + 590_080 + 1_180_160 + 3 * 2_359_808
VGG11 = VGG11_CONVOLUTIONS + 2 * (64 + 128 + 2 * 256 + 4 * 512) + 5_130
VIT_LAYER = 2 * 256 + (3 * 128 * 128 + 384) + (128 * 128 + 128) + (128 * 256 + 256) + (256 * 128 + 128)
VIT = (3 * 16 * 128 + 128) + 128 + 65 * 128 + 4 * VIT_LAYER + 256 + 1_290


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("convnet", 320_010),  # the literature's number
        ("convnet-w64", (1_728 + 64) + 2 * (36_864 + 64) + 3 * 128 + 64 * 16 * 10 + 10),
        ("alexnet", ALEXNET),
        ("vgg11", VGG11),
        ("vgg11-bn", VGG11),
        ("resnet18", 11_173_962),  # the well-known count of the small-image ResNet-18
        ("resnet18-bn", 11_173_962),
        ("mlp", (3_072 * 128 + 128) + (128 * 128 + 128) + 1_290),
        ("vit", VIT),
    ],
)
def test_parameter_counts(name, parameters):
    assert _count(make(name, (3, 32, 32))) == parameters


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [28, 32, 64, 96, 128, 224])
def test_heads_fit_every_size(name, side):
    network = make(name, (3, side, side), classes=7).to("meta")
    images = torch.empty(2, 3, side, side, device="meta")
    features = network.features(images)
    assert features.shape == (2, network.classifier.in_features)
    assert network(images).shape == (2, 7)
    if name == "alexnet":
        assert features.shape[1] == 192 * (9 if side == 28 else 16)
    if name in ("vgg11", "resnet18"):
        assert features.shape[1] == 512


@pytest.mark.parametrize("name", NAMES)
def test_images_need_not_be_square(name):
    network = make(name, (1, 16, 24)).to("meta")
    assert network(torch.empty(2, 1, 16, 24, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_gets_a_gradient(small, name):
    network = small[name]
    images = torch.randn(4, 1, 8, 8, generator=stream(1, "images"))
    loss = F.cross_entropy(network(images), torch.tensor([0, 1, 2, 3]))
    names, parameters = zip(*network.named_parameters(), strict=True)
    for parameter, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert torch.isfinite(gradient).all(), parameter
        assert gradient.abs().sum() > 0, parameter


@pytest.mark.parametrize("name", NAMES)
def test_a_student_can_be_differentiated_twice_through_its_flat_weights(small, name):
    network, spec = small[name], FlatSpec.of(small[name])
    theta = flatten(network).requires_grad_()
    images = torch.randn(2, 1, 8, 8, generator=stream(2, "images")).requires_grad_()
    logits = call(network, spec, theta, images)
    torch.testing.assert_close(logits, network(images))
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, torch.tensor([0, 1])), theta, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), images)
    assert torch.isfinite(second).all()
    assert second.abs().sum() > 0


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "resnet18"])
def test_tiny_images_tell_apart_in_the_features(small, name):
    images = torch.randn(6, 1, 8, 8, generator=stream(3, "images"))
    features = small[name].eval().features(images)
    assert torch.linalg.matrix_rank(features - features.mean(0)) == 5


@pytest.mark.parametrize("name", ["vit", "resnet18-bn", "mlp"])
def test_initialisation_comes_from_the_stream_alone(name):
    before = torch.get_rng_state()
    one = make(name)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        same = make(name)
    assert torch.equal(flatten(one), flatten(same))
    assert not torch.equal(flatten(one), flatten(make(name, seed=1)))


def test_attention_starts_as_the_framework_starts_it(small):
    network = small["vit"]
    attention = next(module for module in network.modules() if isinstance(module, nn.MultiheadAttention))
    bound = (6 / (128 + 3 * 128)) ** 0.5  # Xavier-uniform of [3 * 128, 128]
    largest = float(attention.in_proj_weight.detach().abs().max())
    assert 0.98 * bound < largest <= bound
    assert not attention.in_proj_bias.detach().any()
    assert not attention.out_proj.bias.detach().any()
    positions = network.encoder.pos_embedding.detach()
    assert float(positions.std()) == pytest.approx(0.02, rel=0.1)


def test_what_norm_layers_there_are(small):
    def kinds(name: str) -> set[str]:
        modules = {type(module).__name__ for module in small[name].modules()}
        return modules & {"GroupNorm", "BatchNorm2d", "LayerNorm"}

    expected = {"convnet": "GroupNorm", "vgg11": "GroupNorm", "resnet18": "GroupNorm", "vit": "LayerNorm"}
    for name in NAMES:
        assert kinds(name) == ({expected[name]} if name in expected else set()), name
    for name in ("convnet-bn", "alexnet-bn", "vgg11-bn", "resnet18-bn"):
        assert kinds(name) == {"BatchNorm2d"}, name
    assert kinds("convnet-nn") == set()
    norms = [module for module in small["resnet18"].modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) == 20
    assert all(norm.num_groups == norm.num_channels for norm in norms)


def test_resnet_stem_and_strides():
    network = make("resnet18", (3, 32, 32))
    stem = network.body.conv1
    assert (stem.kernel_size, stem.stride, stem.in_channels) == ((3, 3), (1, 1), 3)
    assert not any(isinstance(module, nn.MaxPool2d) for module in network.modules())
    assert all(module.bias is None for module in network.modules() if isinstance(module, nn.Conv2d))
    assert network.body.layer4[0].conv1.stride == (2, 2)
    assert make("resnet18").body.layer4[0].conv1.stride == (1, 1)  # 8 px would end in a single position


@pytest.mark.parametrize(
    ("side", "layers", "last", "expected"),
    [
        (32, 5, 1, [True] * 5),
        (64, 5, 1, [True] * 5),
        (28, 5, 1, [False, True, True, True, True]),
        (8, 5, 1, [False, False, True, True, True]),
        (2, 5, 1, [False, False, False, False, True]),
        (32, 3, 4, [True, True, True]),
        (28, 3, 4, [True, True, True]),
        (8, 3, 4, [False, False, True]),
        (4, 3, 4, [False, False, False]),
    ],
)
def test_small_images_skip_early_poolings(side, layers, last, expected):
    assert late_poolings((side, side), layers, last=last) == expected


@pytest.mark.parametrize(
    ("height", "width", "patch"), [(8, 8, 2), (28, 28, 4), (32, 32, 4), (64, 64, 8), (224, 224, 28), (16, 24, 4)]
)
def test_patches(height, width, patch):
    assert patch_size(height, width) == patch


def test_what_cannot_be_built_says_why():
    with pytest.raises(ConfigError, match="images are 1x9 px, the smallest it takes is 2 px a side"):
        make("vgg11", (1, 1, 9))
    with pytest.raises(ConfigError, match="the token size is shared by 4 heads"):
        make("vit-w30")
    with pytest.raises(ConfigError, match="no patch size divides 7x9 px"):
        make("vit", (1, 7, 9))
    with pytest.raises(ConfigError, match="largest valid: 3"):
        make("convnet-d4")

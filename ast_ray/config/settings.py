"""Every setting of a run, section by section, with the paper's symbol and where the default comes from.

Equation and section numbers are those of arXiv 2310.10541. A setting that is 0 "for automatic" says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ast_ray.config.field import LARGEST_SEED, setting
from ast_ray.config.method_settings import (
    DirectMatchingConfig,
    DistributionMatchingConfig,
    FeatureAlignmentConfig,
    FeatureRegressionConfig,
    FlatTrajectoriesConfig,
    GradientMatchingConfig,
)
from ast_ray.config.methods import METHODS
from ast_ray.config.networks import NETWORKS
from ast_ray.config.work_settings import ComputeConfig, TuneConfig

PLAIN_NAME = r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})?"  # it becomes the name of a folder
DSA_ALL = "color_crop_cutout_flip_scale_rotate"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The real images: their source, and how they are decoded, split and normalised (docs/data.md)."""

    source: str = setting(
        "digits",
        "a known dataset (digits, mnist, fashion-mnist, svhn, cifar10, cifar100, tiny-imagenet, imagenet), or the path "
        "of an image folder, a Parquet folder or file, or an .npz file",
    )
    root: str = setting("~/.cache/ast-ray", "folder for downloads and decoded images")
    download: bool = setting(True, "let torchvision download a missing dataset")
    subset: Literal["", "nette", "woof", "fruit", "meow", "squawk", "yellow"] = setting(
        "", "ten ImageNet classes to take from an ILSVRC folder or an extracted subset; empty = not ImageNet"
    )
    train_size: int = setting(0, "training images kept, the same number per class; 0 = all", low=0)
    validation_size: int = setting(0, "images held out of the training split for every choice; 0 = a tenth", low=0)
    split_seed: int = setting(0, "seed of the validation split and of the training subset", low=0, high=LARGEST_SEED)
    test_fraction: float = setting(
        0.2, "share of every class held out as the test split when the source has none", above=0, below=1
    )
    image_size: int = setting(
        0, "pixels per side; 0 = as stored if all are one size up to 128, else 128, 64 or 32", low=0, high=1024
    )
    resize: Literal["crop", "stretch"] = setting(
        "crop", "crop: shorter side to image_size, then the centre; stretch: both sides, whatever the shape"
    )
    channels: Literal["auto", "grey", "rgb"] = setting("auto", "auto = grey when every image is, else rgb")
    skip_corrupt: bool = setting(
        False, "go on without unreadable images, unusable annotations and empty classes, and say how many"
    )
    preprocess: Literal["standard", "zca", "none"] = setting(
        "standard", "standard: subtract mean, divide by std per channel; zca: whitening (eps 0.1) instead"
    )
    statistics: Literal[
        "auto", "computed", "cifar10", "cifar100", "mnist", "fashion-mnist", "svhn", "tiny-imagenet", "imagenet"
    ] = setting(
        "auto",
        "mean and std of preprocess = standard: computed over the training split, or the literature's constants of a "
        "dataset; auto = those of a source given by name, else computed",
    )
    placement: Literal["auto", "float", "uint8", "stream"] = setting(
        "auto",
        "real images during training: float on the device, uint8 on the device, or read batch by batch from the cache; "
        "auto = the first that fits",
    )


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The network that experts and students share (Sec. V-A)."""

    name: str = setting(
        "convnet", "architecture; convnet is D blocks of conv, norm, ReLU, average pooling", choices=tuple(NETWORKS)
    )
    width: int = setting(128, "filters per block (convnet), hidden units (mlp), token size (vit)", low=1, high=4096)
    depth: int = setting(
        0,
        "blocks D; 0 = by image size (3 for 32 px, 4 for 64, 5 for 128); hidden layers (mlp: 2), layers (vit: 4)",
        symbol="D",
        low=0,
        high=8,
    )
    first_padding: int = setting(
        1,
        "padding of convnet's first convolution: 1 keeps the image's size; 3 is the literature's for grey images of "
        "28 px, whose maps are 32x32 then",
        low=1,
        high=3,
    )
    norm: Literal["default", "instance", "batch", "none"] = setting(
        "default",
        "default = the architecture's own (alexnet, mlp: none; vit: layer; else instance); batch: evaluation only",
    )


@dataclass(frozen=True, kw_only=True)
class ExpertConfig:
    """Buffer phase: smooth, high-quality experts (Algorithm 1, Eq. 19)."""

    count: int = setting(50, "number of experts (paper: 50)", low=1, high=100_000)
    reachable_only: bool = setting(
        True, "train and record no epoch that matching cannot reach: at most T+ - 1 + M of them; false = all epochs"
    )
    epochs: int = setting(
        50, "epochs per expert; E epochs record E+1 points (paper: 50)", symbol="E", low=1, high=100_000
    )
    lr: float = setting(0.003, "learning rate (authors' code; the paper does not say)", symbol="eta", above=0)
    optimizer: Literal["sgd", "adam"] = setting(
        "sgd", "sgd with momentum (Algorithm 1), or adam, whose beta_1 is momentum (Table I: worse, for comparison)"
    )
    momentum: float = setting(0.9, "momentum of v <- gamma*v + eta*g", symbol="gamma", low=0, below=1)
    weight_decay: float = setting(1e-3, "L2 coefficient added to the gradient (authors' code)", low=0)
    batch_size: int = setting(256, "real images per step", low=1, high=2**20)
    lr_decay_epoch: int = setting(25, "epoch from which the learning rate is scaled; 0 = never (paper: 25)", low=0)
    lr_decay_factor: float = setting(0.5, "factor applied at lr_decay_epoch (paper: 0.5)", above=0, high=1)
    clip_schedule: Literal["linear", "cosine", "step", "constant"] = setting(
        "linear", "how the clipped-loss coefficient rises to 1; constant = off", symbol="lambda"
    )
    clip_start: float = setting(0.5, "clipped-loss coefficient of the first epoch", symbol="lambda_0", above=0, high=1)
    clip_epochs: int = setting(5, "epochs until the clipped-loss coefficient is 1", low=0)
    penalty_weight: float = setting(1.0, "gradient-penalty weight; 0 costs nothing", symbol="mu", low=0)
    penalty_target: float = setting(1.0, "norm the penalty pulls the input gradient to", symbol="K", low=0)
    penalty_scalar: Literal["sum", "true_class"] = setting(
        "sum", "scalar whose input gradient is penalised: the sum of the logits, or the true class's logit"
    )
    penalty_norm: Literal["sample", "pixel"] = setting(
        "sample", "norm over the whole image (Eq. 19), or over the channels of each pixel (authors' code)"
    )
    sharpness_rho: float = setting(
        0.0,
        "radius of the sharpness-aware step that trains flat experts (GSAM, adaptive; FTD: 0.01), which takes two "
        "gradients; 0 = off",
        low=0,
    )
    sharpness_alpha: float = setting(
        0.0,
        "with sharpness_rho: coefficient of the part of the gradient orthogonal to the perturbed one, GSAM's alpha "
        "(FTD: 0.3 or 1); 0 = the perturbed gradient alone",
        low=0,
    )
    augmentation: str = setting(DSA_ALL, "DSA operations of the cross-entropy batch, joined by _; none = off")
    expert_engine: Literal["auto", "eager", "compiled"] = setting(
        "auto",
        "what expert steps compute with: eager = autograd; compiled = ConvNet's step, penalty included, written out "
        "and fused; auto = compiled on CPUs where an expert is long enough to repay compiling, else eager",
    )
    expert_precision: Literal["float32", "tf32", "bf16"] = setting(
        "float32", "what networks compute in while experts are trained: see distill.precision"
    )
    storage: Literal["float32", "bf16"] = setting(
        "float32", "weights on disk: float32 = exact; bf16 = epoch 0 exact, then rounded differences, half the space"
    )


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Distillation phase: the student aligned to the experts (Algorithm 2, Eq. 20-23)."""

    ipc: int = setting(1, "synthetic images per class", symbol="ipc", low=1, high=100_000)
    iterations: int = setting(5000, "outer iterations", low=1)
    syn_steps: int = setting(50, "student steps on the synthetic set per iteration", symbol="N", low=1, high=100_000)
    expert_epochs: int = setting(2, "expert epochs the student has to cover", symbol="M", low=1, high=100_000)
    max_start_epoch: int = setting(2, "start epochs are drawn from 0..T+ - 1", symbol="T+", low=1, high=100_000)
    batch_size: int = setting(0, "synthetic images per student step; 0 = the whole set", symbol="b", low=0, high=2**20)
    outer: Literal["normalized", "sgd"] = setting(
        "normalized",
        "update of pixels and alpha: normalized = scale-free, the same settings for every dataset (step_img, step_lr); "
        "sgd = as published, at rates that fit one cell of the tables (lr_img, lr_lr, outer_momentum)",
    )
    step_img: float = setting(
        0.05,
        "normalized: largest root mean square of a pixel update, in standard deviations of the real images",
        above=0,
        high=1,
    )
    step_lr: float = setting(0.05, "normalized: largest change of log(alpha) in one update", low=0, high=1)
    lr_img: float = setting(100.0, "sgd: learning rate of the pixels", above=0)
    lr_lr: float = setting(1e-5, "sgd: learning rate of the student's learning rate", low=0)
    outer_momentum: float = setting(0.5, "sgd: momentum of pixels and alpha (Sec. IV-D)", low=0, below=1)
    student_lr: float = setting(
        0.0,
        "initial student learning rate; 0 = from how far the experts move, measured before the first iteration",
        symbol="alpha_0",
        low=0,
    )
    init: Literal["representative", "random-real", "noise"] = setting(
        "representative", "starting images: nearest to K-means centroids (Sec. IV-C1), random real ones, or noise"
    )
    init_clusters: int = setting(0, "K-means clusters per class; 0 = ipc up to 10 images, else 10", low=0)
    balanced_inner_loss: bool = setting(True, "scale the inner loss by nu(t) (Eq. 20)", symbol="nu")
    vartheta: float = setting(8.0, "offset inside the logarithm of nu", symbol="vartheta", above=1)
    log_base: float = setting(0.0, "base of nu's logarithm; 0 = e (authors' code: 5)", low=0)
    beta_strategy: Literal["equal", "scaled", "final"] = setting(
        "equal", "weights of the matching points (Eq. 22); final = only the end, as MTT", symbol="beta"
    )
    rho: float = setting(0.1, "relative size of the weight perturbation (Eq. 23); 0 = off", symbol="rho", low=0)
    perturb_scope: Literal["all", "conv"] = setting("all", "filters perturbed: conv and linear weights, or conv only")
    perturb_vectors: bool = setting(False, "also perturb biases and norm scales, each as one filter")
    student_momentum: float = setting(0.0, "heavy-ball momentum of the student (authors' code: 0.9)", low=0, below=1)
    dropout: float = setting(
        0.0, "dropout on the student's features (tried and rejected in Sec. IV-D2)", low=0, below=1
    )
    start_epoch_window: int = setting(
        0, "draw the start epoch within +-window of the last one (tried and rejected); 0 = uniform", low=0
    )
    augmentation: str = setting(DSA_ALL, "DSA operations of the student's batch, joined by _; none = off")
    siamese: bool = setting(False, "share one draw of the DSA parameters over the batch")
    engine: Literal["auto", "eager", "compiled", "graphed"] = setting(
        "auto",
        "what student steps compute with: eager = autograd; compiled = ConvNet's step written out and fused; graphed = "
        "that as CUDA graphs; auto = where the run is long enough to repay compiling, compiled on CPUs and on GPUs the "
        "first of graphed and compiled that agrees with autograd there, else eager",
    )
    gradient: Literal["auto", "recompute", "stored", "full_graph", "direct"] = setting(
        "auto",
        "exact gradient in constant memory, with every step's intermediates stored (faster, same values), or from the "
        "unrolled graph (for checking); auto = stored where an eighth of the memory holds it and engine is not eager; "
        "direct = TESLA's, another gradient: every step's weights count as constants, intermediates kept as by auto",
    )
    precision: Literal["float32", "tf32", "bf16"] = setting(
        "float32",
        "what the student's network computes in: float32 = exact; tf32 = on GPUs, convolutions and products round to "
        "ten bits; bf16 = they take bfloat16, which is several times faster where the hardware has it",
    )
    image_average: float = setting(
        0.0,
        "decay per iteration of the moving average of the images, which FTD publishes (0.999 to 0.9999); 0 = off",
        low=0,
        below=1,
    )
    segments: int = setting(
        1, "expert segments matched per iteration, their gradients averaged (paper: 1)", symbol="W", low=1, high=1024
    )
    validate_every: int = setting(500, "iterations between validations; 0 = only at the end", low=0)
    validate_networks: int = setting(2, "networks trained per validation", low=1, high=10_000)
    checkpoint_every: int = setting(50, "iterations between checkpoints", low=1)
    log_every: int = setting(10, "iterations between metric rows", low=1)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Evaluation phase: fresh networks on the synthetic set, scored on the real test set (Sec. V-A)."""

    networks: int = setting(5, "fresh networks per row (paper: 5)", low=1, high=10_000)
    passes: int = setting(1000, "passes over the synthetic set", low=1)
    batch_size: int = setting(256, "synthetic images per step", low=1, high=2**20)
    momentum: float = setting(0.9, "SGD momentum", low=0, below=1)
    weight_decay: float = setting(5e-4, "L2 coefficient", low=0)
    lr: float = setting(0.0, "learning rate; 0 = the learned alpha (real images: real_lr)", low=0)
    transfer_lr: float = setting(
        0.0, "learning rate on architectures other than the one alpha was learned on; 0 = as on that one", low=0
    )
    real_lr: float = setting(0.01, "learning rate for real images, which carry no alpha", above=0)
    lr_decay_pass: int = setting(500, "pass from which the learning rate is scaled; 0 = never", low=0)
    lr_decay_factor: float = setting(0.5, "factor applied at lr_decay_pass", above=0, high=1)
    architectures: tuple[str, ...] = setting(
        (), "networks to evaluate on, e.g. convnet, alexnet, vgg11, resnet18-bn, convnet-w64, mlp, vit; empty = network"
    )
    protocols: tuple[Literal["strict", "mtt", "ast", "dc", "frepo", "peak", "no-augmentation"], ...] = setting(
        ("strict",),
        "strict: these settings, last pass; mtt, ast (rate x0.1 / x0.5 at pass 500 of 1000), dc, frepo: as published; "
        "no-augmentation: strict without DSA; peak: best test pass, for comparison only",
    )
    peak_every: int = setting(20, "passes between the test scores that peak chooses from", low=1)
    scores: bool = setting(
        False, "also train what DD-Ranking's scores need: random images, the full set, no augmentation"
    )
    full_epochs: int = setting(50, "epochs of the full-data row, at least", low=1)
    full_steps: int = setting(
        1000, "optimizer steps of the full-data row, at least: full_epochs is raised to take as many; 0 = never", low=0
    )
    full_networks: int = setting(0, "networks of the full-data row; 0 = networks", low=0, high=10_000)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The methods and baselines that `ast-ray run` compares."""

    mtt_lr_lr: float = setting(
        0.0,
        "sgd: distill.lr_lr of method mtt, whose experts move less, which makes alpha's gradient larger; "
        "0 = distill.lr_lr",
        low=0,
    )
    mtt_settings: tuple[str, ...] = setting(
        (),
        "settings of method mtt alone, as NAME=VALUE of expert and distill joined by commas, e.g. "
        "distill.student_lr=0.001; the others it shares with ast",
    )
    methods: tuple[str, ...] = setting(("ast", "mtt"), "methods to distil with; ast = as given", choices=METHODS)
    baselines: tuple[Literal["random", "representative", "herding", "k-centre", "forgetting", "full"], ...] = setting(
        ("random", "representative", "full"),
        "real images of the same number (random, representative, herding, k-centre, forgetting), the full set",
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run, whole."""

    preset: str = setting("", "name of the preset this started from", pattern=PLAIN_NAME)
    seed: int = setting(0, "seed of every random stream", low=0, high=LARGEST_SEED)
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    flat_trajectories: FlatTrajectoriesConfig = field(default_factory=FlatTrajectoriesConfig)
    direct_matching: DirectMatchingConfig = field(default_factory=DirectMatchingConfig)
    gradient_matching: GradientMatchingConfig = field(default_factory=GradientMatchingConfig)
    distribution_matching: DistributionMatchingConfig = field(default_factory=DistributionMatchingConfig)
    feature_alignment: FeatureAlignmentConfig = field(default_factory=FeatureAlignmentConfig)
    feature_regression: FeatureRegressionConfig = field(default_factory=FeatureRegressionConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    run: RunConfig = field(default_factory=RunConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)

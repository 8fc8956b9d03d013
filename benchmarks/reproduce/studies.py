"""What is compared: one study per table or claim of the paper, each a list of variants of a base.

A variant starts from a method's settings of a base (`scales`), adds components to them, then changes single
settings. Paper: arXiv 2310.10541v2; its figures are in paper.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ast_ray.errors import ConfigError, Problem, suggestion
from benchmarks.reproduce.components import EXPERT, OFF, STUDENT, without


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    ``adds``: components given the values they have in AST's settings; ``changes``: single settings after that;
    ``scaled``: settings multiplied (of the base's own value). ``real``: a set of real images instead of a distilled
    one. ``only_experts``: nothing is distilled. ``against``: the variant it is compared with, paired by seed; empty =
    the study's reference.
    """

    name: str
    method: str = "ast"
    adds: tuple[str, ...] = ()
    changes: Mapping[str, object] = field(default_factory=dict, hash=False)
    scaled: Mapping[str, float] = field(default_factory=dict, hash=False)
    real: str = ""
    only_experts: bool = False
    against: str = ""


@dataclass(frozen=True)
class Study:
    """A named comparison: its variants, the reference they are compared with, and the bases of each scale.

    ``own_experts``: every seed trains its own experts; otherwise seeds share them and differ in everything after.
    ``settings``: changes for all variants, by scale.
    """

    name: str
    title: str
    question: str
    variants: tuple[Variant, ...]
    bases: Mapping[str, tuple[str, ...]] = field(hash=False)
    reference: str = ""
    own_experts: bool = False
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict, hash=False)
    note: str = ""

    def variant(self, name: str) -> Variant:
        """A variant by name."""
        return next(variant for variant in self.variants if variant.name == name)


SMALL, MEDIUM, DIGITS = "cifar10-small", "cifar10-medium", "digits-short"
PEERS_1, PEERS_10 = "cifar10-peers-ipc1", "cifar10-peers-ipc10"
CELLS = tuple(f"cifar10-ipc{ipc}" for ipc in (1, 10, 50)) + tuple(f"cifar100-ipc{ipc}" for ipc in (1, 10, 50))
TINY = ("tiny-ipc1", "tiny-ipc10")
SUBSETS = tuple(f"{name}-ipc{ipc}" for name in ("nette", "woof", "fruit", "meow") for ipc in (1, 10))
MTT, AST = Variant("MTT", "mtt"), Variant("AST")


def _real(*names: str) -> tuple[Variant, ...]:
    return tuple(Variant(name, real=name) for name in names)


METHODS = Study(
    "methods",
    "AST, MTT and real images (Table III)",
    "How well does a network train on distilled images, on chosen real ones of the same number, and on all of them?",
    (*_real("random", "herding", "forgetting", "k-centre", "representative"), MTT, AST, *_real("full")),
    {"cpu": (SMALL, MEDIUM, DIGITS), "paper": CELLS + TINY},
    reference="MTT",
    settings={"paper": {"evaluate.protocols": "strict,peak"}},
    note="At equal iterations: MTT is AST with every switch off, on plain experts, with the same N, M, T+ and rates.",
)
EXPERTS = Study(
    "experts",
    "What the expert's optimiser does (Tables I and VII)",
    "Does momentum alone make experts jump (Avg_Var) and spoil the match, and do the constraints repair it?",
    (
        Variant("SGD", "mtt"),
        Variant("SGD + momentum", "mtt", adds=("expert momentum",)),
        Variant(
            "Adam",
            "mtt",
            changes={"expert.optimizer": "adam", "expert.momentum": 0.9, "expert.lr": 0.001},
        ),
        Variant(
            "momentum + gradient penalty",
            "mtt",
            adds=("expert momentum", "gradient penalty"),
            against="SGD + momentum",
        ),
        Variant("momentum + clipped loss", "mtt", adds=("expert momentum", "clipped loss"), against="SGD + momentum"),
        Variant("momentum + both", "mtt", adds=EXPERT, against="SGD + momentum"),
    ),
    {"cpu": (SMALL,), "paper": ("cifar10-ipc1", "cifar100-ipc10", "tiny-ipc1")},
    reference="SGD",
    own_experts=True,
    settings={"cpu": {"expert.count": 1}},
    note=(
        "The student is MTT's throughout; every seed has experts of its own. Momentum comes with AST's rate, plain SGD "
        "with MTT's, Adam (Table I) with its usual 0.001."
    ),
)
CALIBRATION = Study(
    "calibration",
    "Free values of the expert",
    "Which rate, decay and form of the penalty make experts good and smooth?",
    (
        Variant("momentum alone", changes=without("gradient penalty", "clipped loss"), only_experts=True),
        Variant("AST", only_experts=True),
        Variant("mu 1 (paper)", changes={"expert.penalty_weight": 1.0}, only_experts=True),
        Variant("true class's logit", changes={"expert.penalty_scalar": "true_class"}, only_experts=True),
        Variant("norm per pixel (code)", changes={"expert.penalty_norm": "pixel"}, only_experts=True),
        Variant("rate 0.001", changes={"expert.lr": 0.001}, only_experts=True),
        Variant("rate 0.01", changes={"expert.lr": 0.01}, only_experts=True),
        Variant("no weight decay", changes={"expert.weight_decay": 0.0}, only_experts=True),
    ),
    {"cpu": (SMALL,), "paper": ("cifar10-ipc1", "cifar100-ipc10")},
    reference="momentum alone",
    own_experts=True,
    settings={"cpu": {"expert.count": 1}},
    note="Experts only; each row changes one value of AST's expert.",
)
INITIAL = Study(
    "initial",
    "Initial samples and start epoch (Table II)",
    "On MTT's experts, does each of the two starting points help by itself?",
    (
        Variant("random / random", "mtt"),
        Variant("representative / random", "mtt", adds=("representative initialization",)),
        Variant("random / balanced", "mtt", adds=("balanced inner loss",)),
    ),
    {"cpu": (SMALL,), "paper": ("cifar100-ipc10",)},
    reference="random / random",
)
_LADDER = ("base", *(f"+ {name}" for name in STUDENT))
LADDER = Study(
    "ladder",
    "The ladder of components (Table VIII)",
    "From smooth experts on, what does each further component of the student add?",
    tuple(
        Variant(name, changes=without(*STUDENT[place:]), against=_LADDER[max(0, place - 1)])
        for place, name in enumerate(_LADDER)
    ),
    {"cpu": (SMALL,), "paper": ("cifar100-ipc10",)},
    note="Each row is compared with the one above it.",
)
ABLATION = Study(
    "ablation",
    "Each component by itself",
    "What is lost when one component is taken out of AST, and gained when it alone is put into MTT?",
    (
        AST,
        *(Variant(f"AST without {name}", changes=without(name), against="AST") for name in OFF),
        MTT,
        *(Variant(f"MTT with {name}", "mtt", adds=(name,), against="MTT") for name in OFF),
    ),
    {"cpu": (SMALL,), "paper": ("cifar100-ipc10",)},
    reference="AST",
)
SWITCHES = Study(
    "switches",
    "Where the paper and its authors' code differ",
    "Does it matter which reading is taken?",
    (
        AST,
        Variant("logarithm of nu to base 5 (code)", changes={"distill.log_base": 5.0}),
        Variant(
            "student momentum 0.9, alpha a tenth (code)",
            changes={"distill.student_momentum": 0.9},
            scaled={"distill.student_lr": 0.1, "distill.lr_lr": 0.01},
        ),
        Variant("mu 1 (paper)", changes={"expert.penalty_weight": 1.0}),
        Variant("penalty norm per pixel (code)", changes={"expert.penalty_norm": "pixel"}),
        Variant("penalty of the true class's logit", changes={"expert.penalty_scalar": "true_class"}),
        Variant("perturbation of convolutions only (code)", changes={"distill.perturb_scope": "conv"}),
        Variant("rho 0.1 (paper)", changes={"distill.rho": 0.1}),
        Variant("rho 0.03", changes={"distill.rho": 0.03}),
        Variant("rho 0.003", changes={"distill.rho": 0.003}),
        Variant("beta scaled", changes={"distill.beta_strategy": "scaled"}),
    ),
    {"cpu": (SMALL,), "paper": ("cifar100-ipc10",)},
    reference="AST",
    note=(
        "AST here takes the paper's reading everywhere but for rho and, at the small scale, mu. Heavy-ball momentum "
        "0.9 makes a step ten times as long in the end, so alpha starts at a tenth there, and its rate at a hundredth."
    ),
)
SPEED = Study(
    "speed",
    "Fewer iterations (Sec. V-D: MTT's 5000 iterations in 500)",
    "After which share of the iterations does AST reach MTT's accuracy at the end?",
    (
        MTT,
        *(
            Variant(f"AST, {share:.0%} of the iterations", scaled={"distill.iterations": share})
            for share in (0.1, 0.25, 0.5)
        ),
        Variant("AST, 100% of the iterations"),
    ),
    {"cpu": (SMALL,), "paper": ("cifar100-ipc10",)},
    reference="MTT",
)
TIME = Study(
    "time",
    "Equal time",
    "AST's experts cost more than MTT's. Given that time as further iterations, does MTT catch up?",
    (
        AST,
        Variant("MTT", "mtt"),
        Variant("MTT, 3 times the iterations", "mtt", scaled={"distill.iterations": 3.0}),
    ),
    {"cpu": (SMALL,), "paper": ("cifar100-ipc10",)},
    reference="AST",
)
TRANSFER = Study(
    "transfer",
    "Other architectures (Table IV)",
    "Do images distilled through one network train others?",
    (MTT, AST),
    {"cpu": (SMALL,), "paper": ("cifar10-ipc50",)},
    reference="MTT",
    settings={
        "cpu": {"evaluate.architectures": "convnet,convnet-d2,alexnet,mlp", "evaluate.networks": 1},
        "paper": {"evaluate.architectures": "convnet,resnet18,vgg11,alexnet"},
    },
)
IMAGENET = Study(
    "imagenet",
    "ImageNet subsets at 128 px (Table V)",
    "Larger images.",
    (MTT, AST),
    {"paper": SUBSETS},
    reference="MTT",
    settings={"paper": {"evaluate.protocols": "strict,peak"}},
)
PROTOCOLS = Study(
    "protocols",
    "Published protocols",
    "What do 1000 passes with the rate scaled by 0.1 (mtt) or 0.5 (ast) at pass 500 give, and what the best pass?",
    (MTT, AST),
    {"cpu": (SMALL,), "paper": CELLS[:2]},
    reference="MTT",
    settings={
        "cpu": {"evaluate.protocols": "strict,mtt,ast,peak", "evaluate.peak_every": 50},
        "paper": {"evaluate.protocols": "strict,mtt,ast,peak"},
    },
)
_SCALE_FREE = {"distill.outer": "normalized", "distill.student_lr": 0.0}
FIRST_CELL = Study(
    "first-cell",
    "CIFAR-10, one image per class, at full width (Table III's first cell)",
    "How far do AST and MTT come at the paper's own size with few experts and iterations?",
    (
        Variant("MTT", "mtt", changes=_SCALE_FREE),
        Variant("AST", changes=_SCALE_FREE),
        *_real("random", "representative"),
    ),
    {"paper": ("cifar10-ipc1",)},
    reference="MTT",
    settings={
        "paper": {
            "expert.count": 5,
            "expert.reachable_only": True,
            "distill.iterations": 1000,
            "distill.validate_every": 0,
            "distill.validate_networks": 1,
            "evaluate.protocols": "strict,mtt,ast,peak",
        }
    },
    note=(
        "Width 128, ZCA, all training images, N, M and T+ as published; 5 experts in place of 50 and 100, 1,000 "
        "iterations in place of 5,000, normalised outer steps in place of the published rates."
    ),
)
PRECISION = Study(
    "precision",
    "Lower precision",
    "What does bfloat16 in the networks cost in accuracy?",
    (
        AST,
        Variant("student in bfloat16", changes={"distill.precision": "bf16"}),
        Variant(
            "student and experts in bfloat16",
            changes={"distill.precision": "bf16", "expert.expert_precision": "bf16"},
        ),
    ),
    {"cpu": (SMALL,), "paper": ("cifar10-ipc1", "cifar10-ipc10")},
    reference="AST",
    note="Evaluation is in float32 for all. Not a table of the paper.",
)

PEERS = Study(
    "peers",
    "Every method of the paper's comparison in one harness",
    "How well do networks train on the sets of each method, at the same data, network, iterations and evaluation?",
    (
        *_real("random"),
        Variant("DC", "dc"),
        Variant("DSA", "dsa"),
        Variant("DM", "dm"),
        Variant("CAFE", "cafe"),
        Variant("CAFE+DSA", "cafe", changes={"feature_alignment.augmented": True, "distill.init": "random-real"}),
        Variant("FRePo", "frepo"),
        Variant("MTT", "mtt"),
        Variant("TESLA", "tesla"),
        Variant("FTD", "ftd"),
        Variant("AST"),
    ),
    {"cpu": (PEERS_1, PEERS_10)},
    reference="random",
    settings={
        "cpu": {
            "gradient_matching.real_batch": 64,
            "distribution_matching.real_batch": 64,
            "feature_alignment.real_batch": 64,
            "feature_alignment.query_batch": 16,
            "feature_regression.real_batch": 256,
            "feature_regression.lr": 0.01,
        }
    },
    note=(
        "300 updates of the set by every method, pixels by the scale-free update at its default, nothing tuned for any "
        "of them; FRePo by LAMB at 0.01. Published runs take 1,000 to 500,000 updates, and 256 real images per class "
        "where 64 are taken here (FRePo 1,024, here 256), so methods whose updates are small are far from their end. "
        "FRePo's labels are learned, but the strict protocol trains on its hard ones. DC and CAFE start from noise, as "
        "published; others from real images."
    ),
)

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        METHODS,
        EXPERTS,
        LADDER,
        ABLATION,
        SWITCHES,
        INITIAL,
        SPEED,
        TIME,
        PROTOCOLS,
        TRANSFER,
        IMAGENET,
        CALIBRATION,
        FIRST_CELL,
        PRECISION,
        PEERS,
    )
}


def study(name: str) -> Study:
    """A study by name.

    Raises:
        ConfigError: unknown; says the nearest.
    """
    if name not in STUDIES:
        raise ConfigError([Problem("study", name, f"unknown study{suggestion(name, STUDIES)}")])
    return STUDIES[name]

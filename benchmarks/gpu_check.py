"""Whether a GPU computes what the CPU does, and the same bytes twice: engines, experts, groups, a whole run.

    python benchmarks/gpu_check.py [--device cuda] [--only engines]

Every line compares the device with the CPU (float32, TF32 off: relative distance of what was learnt), and a second run
on the device with the first (bytes). A case that fails says why and the rest go on. The last line is JSON; the exit
code is 1 when a case failed or was further off than its tolerance.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from iteration import Iteration, settings
from measure import as_in_a_run, finish
from torch import Tensor

from ast_ray.config.architectures import architecture
from ast_ray.config.settings import DSA_ALL, Config, ExpertConfig, NetworkConfig
from ast_ray.config.work_settings import ComputeConfig
from ast_ray.core.experts.training import train_expert, train_experts_together
from ast_ray.core.networks import Network, build
from ast_ray.core.parameters import flatten
from ast_ray.core.rng import stream
from ast_ray.core.training import TrainingRecipe, require_finite_loss, train_network, train_networks_together
from ast_ray.stages.engine import build_expert_step

SHAPE, CLASSES, WIDTH = (3, 32, 32), 10, 64
ENGINES = (("eager", "recompute"), ("compiled", "recompute"), ("compiled", "stored"), ("graphed", "stored"))
ARCHITECTURES = ("convnet-bn", "alexnet", "vgg11", "resnet18", "resnet18-bn", "mlp", "vit")
SHORT = (
    *("--compute.backend", "serial", "--expert.count", "2", "--expert.epochs", "7", "--distill.iterations", "20"),
    *("--evaluate.networks", "2", "--evaluate.passes", "100", "--evaluate.full-networks", "1"),
)
# Float32 sums in another order, over a few steps. Eight expert steps amplify a ReLU that falls to the other side.
TOLERANCE = 0.02


@dataclass
class Findings:
    """What was found, case by case."""

    cases: dict[str, dict[str, Any]] = field(default_factory=dict)

    @contextmanager
    def case(self, name: str) -> Iterator[dict[str, Any]]:
        """Record one case; an exception is its finding."""
        found: dict[str, Any] = {}
        began = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True) as warned:
                yield found
            if told := sorted({str(item.message).splitlines()[0][:160] for item in warned}):
                found["warnings"] = told
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error) else ''}"
            traceback.print_exc()
        found["took"] = round(time.perf_counter() - began, 2)
        self.cases[name] = found
        print(name, found, flush=True)

    @property
    def failed(self) -> bool:
        """Whether a case failed or was too far off."""
        return any("error" in found or not found.get("apart", 0.0) <= TOLERANCE for found in self.cases.values())


def apart(ours: Tensor, expected: Tensor) -> float:
    """Relative distance."""
    return float((ours.cpu() - expected.cpu()).norm() / expected.cpu().norm())


def compared(found: dict[str, Any], make: Callable[[], Tensor], reference: Tensor, begin: Tensor | float) -> None:
    """Run twice: how far what was learnt is off the reference's, and whether the second run gave the same bytes."""
    first, second = make().cpu(), make().cpu()
    found["apart"] = apart(first - begin, reference.cpu() - begin)
    found["same_bytes"] = bool(torch.equal(first, second))


@as_in_a_run()
def learnt_images(device: str, engine: str, gradient: str, precision: str = "float32") -> Tensor:
    """Synthetic images after two iterations."""
    config = settings(
        network__width=WIDTH,
        distill__ipc=1,
        distill__syn_steps=4,
        distill__engine=engine,
        distill__gradient=gradient,
        distill__precision=precision,
        distill__lr_img=1000.0,
    )
    iteration = Iteration(config, device)
    for _ in range(2):
        iteration()
    return iteration.state.images


def engines(findings: Findings, device: str) -> None:
    """Each engine on the device against eager on the CPU."""
    begin = torch.randn(CLASSES, *SHAPE, generator=stream(0, "images"))
    reference = learnt_images("cpu", "eager", "recompute")
    for engine, gradient in ENGINES:
        with findings.case(f"matching, {engine}, {gradient}") as found:
            compared(found, lambda e=engine, g=gradient: learnt_images(device, e, g), reference, begin)  # type: ignore[misc]


def fresh(device: str, number: int = 0) -> Network:
    """A fresh ConvNet-3."""
    return build(NetworkConfig(width=WIDTH), SHAPE, CLASSES, stream(0, "network", number)).to(device)


def data(device: str, number: int) -> tuple[Tensor, Tensor]:
    """Random images and labels."""
    generator = stream(0, "data")
    images = torch.randn(number, *SHAPE, generator=generator)
    return images.to(device), torch.randint(CLASSES, (number,), generator=generator).to(device)


@as_in_a_run()
def trained_expert(device: str, config: ExpertConfig, engine: str) -> Tensor:
    """Weights of one expert after one epoch of four steps."""
    network, (images, labels) = fresh(device), data(device, 256)
    whole = Config(
        network=NetworkConfig(width=WIDTH),
        expert=ExpertConfig(**{**vars(config), "expert_engine": engine}),
        compute=ComputeConfig(device=device),  # type: ignore[arg-type]
    )
    step = build_expert_step(network, whole, SHAPE, CLASSES, len(images))
    return [*train_expert(network, images, labels, config, seed=0, expert_id=0, step=step)][-1].theta


def experts(findings: Findings, device: str) -> None:
    """An AST expert by each engine against the CPU's, and several at once against one by one."""
    config, begin = ExpertConfig(epochs=1, batch_size=64), flatten(fresh("cpu"))
    reference = trained_expert("cpu", config, "eager")
    for engine in ("eager", "compiled"):
        with findings.case(f"expert, {engine}") as found:
            compared(found, lambda e=engine: trained_expert(device, config, e), reference, begin)  # type: ignore[misc]
    with findings.case("experts at once") as found:
        images, labels = data(device, 256)

        @as_in_a_run()
        def at_once() -> Tensor:
            networks = [fresh(device, number) for number in (0, 1, 2)]
            records = train_experts_together(networks, images, labels, config, seed=0, expert_ids=[0, 1, 2])
            return [*records][-1][0].theta

        compared(found, at_once, reference, begin)


def networks(findings: Findings, device: str) -> None:
    """Networks of an evaluation trained at once against one on the CPU."""
    recipe = TrainingRecipe(0.01, 10, 256, 0.9, 5e-4, 0, 1.0, DSA_ALL)
    begin, reference = flatten(fresh("cpu")), fresh("cpu")
    require_finite_loss(train_network(reference, *data("cpu", 10), recipe, stream(0, 0, "train")), recipe)

    @as_in_a_run()
    def at_once() -> Tensor:
        group = [fresh(device, number) for number in range(3)]
        train_networks_together(group, *data(device, 10), recipe, [stream(0, number, "train") for number in range(3)])
        return flatten(group[0])

    with findings.case("evaluated networks at once") as found:
        compared(found, at_once, flatten(reference), begin)
    for name in ARCHITECTURES:
        with findings.case(f"evaluated {name}") as found:
            network = architecture(name, NetworkConfig())

            @as_in_a_run()
            def trained(where: str, network: NetworkConfig = network, name: str = name) -> Tensor:
                trained = build(network, SHAPE, CLASSES, stream(0, name)).to(where)
                short = replace(recipe, passes=2)
                require_finite_loss(train_network(trained, *data(where, 20), short, stream(0, "train")), short)
                return flatten(trained)

            begun = flatten(build(network, SHAPE, CLASSES, stream(0, name)))
            compared(found, partial(trained, device), trained("cpu"), begun)


def whole_run(findings: Findings, device: str) -> None:
    """A short run of digits by the command line without Ray, twice: exit code, time, whether artefacts are alike."""
    with findings.case("ast-ray run --preset digits") as found, tempfile.TemporaryDirectory() as folder:
        hashes = []
        for name in ("first", "second"):
            out = Path(folder) / name
            command = [sys.executable, "-m", "ast_ray", "run", "--preset", "digits", *SHORT]
            began = time.perf_counter()
            done = subprocess.run(
                [*command, "--device", device, "--out", str(out)], capture_output=True, text=True, check=False
            )
            found[name] = {"exit": done.returncode, "seconds": round(time.perf_counter() - began, 1)}
            print(done.stdout[-3000:], done.stderr[-2000:], flush=True)
            if done.returncode:
                raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message")
            kept = sorted([*out.rglob("synthetic.safetensors"), *(out / "experts").rglob("*.parquet")])
            hashes.append({str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in kept})
        found["artefacts"] = len(hashes[0])
        found["same_bytes"] = hashes[0] == hashes[1]
        found["differ"] = sorted(name for name in hashes[0] if hashes[0][name] != hashes[1].get(name))[:6]


def main() -> None:
    """Check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--only", action="append", choices=["engines", "experts", "networks", "run"])
    given = parser.parse_args()
    findings = Findings()
    checks = {"engines": engines, "experts": experts, "networks": networks, "run": whole_run}
    for name in given.only or checks:
        checks[name](findings, given.device)
    finish("gpu_check", {"cases": findings.cases, "failed": findings.failed})
    sys.exit(int(findings.failed))


if __name__ == "__main__":
    main()

"""Expected time, memory and disk of what a run still has to do on this machine, told before the work.

Time is counted steps times step times measured here (`stages.distillation.stopwatch`), so it leaves out starting
workers, reading and writing. It counts on workers that do not slow each other down, and is about right at best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ast_ray.config.cost import iteration_memory
from ast_ray.config.engine import choose_expert_engine
from ast_ray.config.full_data import full_epochs
from ast_ray.config.methods import matched_methods, method_info
from ast_ray.config.work_settings import ComputeConfig
from ast_ray.core.training import TrainingRecipe
from ast_ray.stages.device import cores, resolve_device, torch_threads
from ast_ray.stages.distillation.loop import finished
from ast_ray.stages.distillation.stopwatch import Stopwatch
from ast_ray.stages.engine import facts_about, machine, matching_choice, run_memory
from ast_ray.stages.evaluation.evaluate import EvaluationJob, unfinished
from ast_ray.stages.run.pipeline import Plan, evaluation_jobs, expert_methods
from ast_ray.stages.run.preflight import expert_bytes

Stage = Literal["experts", "distillation", "evaluation"]
STAGES: tuple[Stage, ...] = ("experts", "distillation", "evaluation")
# Speed of compiled steps against autograd's, and what compiling takes (docs/performance.md).
_COMPILED_EXPERT = 3.0
_COMPILED_STUDENT = 2.2
_COMPILING = 60.0


@dataclass(frozen=True)
class Expected:
    """Seconds (None: not known), workers at once, peak bytes of memory of one (0: not known), bytes of new experts.

    ``left`` is False when everything is there already. ``partly`` says that networks of other architectures come on top
    of the seconds. ``available`` is the whole memory of this machine or its GPU in bytes (0: the work runs elsewhere).
    """

    seconds: float | None
    workers: int
    memory: int
    disk: int
    left: bool
    partly: bool = False
    available: int = 0


def expected(plan: Plan, stages: Sequence[Stage] = STAGES) -> Expected:
    """Estimate what these stages of a run still need; what is finished costs nothing.

    Seconds are not known on GPUs and on clusters.
    """
    config, todo = plan.config, _Todo.of(plan, stages)
    workers = workers_here(config.compute)
    elsewhere = bool(config.compute.address)
    known = not elsewhere and resolve_device(config.compute).type == "cpu"
    seconds = None
    if known or not todo.left:
        with torch_threads(config.compute.threads):
            seconds = todo.seconds(plan, workers)
    memory = run_memory(config, plan.data)
    peaks = [memory.expert * bool(todo.experts), memory.evaluation * bool(todo.rows)]
    if not elsewhere:
        peaks += [distillation_memory(plan, name) for name in todo.methods]
    disk = sum(count * expert_bytes(plan.method(method), plan.data) for method, count in todo.experts.items())
    partly = any(job.network != job.config.network for job in todo.rows)
    available = 0 if elsewhere else machine(config.compute).memory
    return Expected(seconds, workers, max(peaks, default=0), disk, todo.left, partly, available)


def workers_here(compute: ComputeConfig) -> int:
    """Return how many tasks run at once on this machine's processor."""
    if compute.backend == "serial":
        return 1
    fitting = max(1, int(cores() / compute.cpus_per_task))
    return min(fitting, compute.workers or fitting)


@dataclass(frozen=True)
class _Todo:
    """Missing experts by the method that trains them, methods to distil, networks to evaluate."""

    experts: dict[str, int]
    methods: tuple[str, ...]
    rows: tuple[EvaluationJob, ...]

    @classmethod
    def of(cls, plan: Plan, stages: Sequence[Stage]) -> _Todo:
        names = expert_methods(plan.config) if "evaluation" in stages else matched_methods(plan.config)
        buffers = {plan.buffer(name).folder: name for name in reversed(names)}
        experts = {name: len(plan.buffer(name).missing()) for name in buffers.values()}
        methods, rows = list[str](), list[EvaluationJob]()
        if "distillation" in stages:
            methods = [name for name in plan.config.run.methods if not finished(plan.distill_job(name))]
        if "evaluation" in stages:
            rows = unfinished(evaluation_jobs(plan))
        return cls({name: count for name, count in experts.items() if count}, tuple(methods), tuple(rows))

    @property
    def left(self) -> bool:
        return bool(self.experts or self.methods or self.rows)

    def seconds(self, plan: Plan, workers: int) -> float:
        """Experts and networks are spread over all workers; a distillation has one."""
        watch = Stopwatch(plan.config, plan.data.image_shape, plan.data.classes)
        shared = sum(count * expert_seconds(plan, name, watch) for name, count in self.experts.items())
        usual = [job for job in self.rows if job.network == job.config.network]
        shared += sum(len(job.indices) * row_seconds(plan, job, watch) for job in usual)
        distilling = sum(distillation_seconds(plan, name, watch) for name in self.methods)
        return shared / workers + distilling / min(workers, max(1, len(self.methods)))


def distillation_memory(plan: Plan, method: str) -> int:
    """Return the peak bytes of one distillation, estimated; 0 where they are not known."""
    config = plan.method(method)
    if method_info(method).needs_experts:
        return matching_choice(config, plan.data)[0].memory
    return iteration_memory(config, method, facts_about(plan.data))


def expert_seconds(plan: Plan, method: str, watch: Stopwatch) -> float:
    """Return the seconds of one expert: its steps, and its validation after every epoch."""
    config, data = plan.method(method), plan.data
    images = len(data.train_labels)
    engine = choose_expert_engine(config, data.image_shape, images, machine(config.compute))
    compiled = engine == "compiled"
    steps = -(-images // config.expert.batch_size)
    step = watch.expert_step(config.expert, images) / (_COMPILED_EXPERT if compiled else 1)
    validation = len(data.validation_labels) * watch.scored_image
    return config.expert.epochs * (steps * step + validation) + _COMPILING * compiled / config.expert.count


def distillation_seconds(plan: Plan, method: str, watch: Stopwatch) -> float:
    """Return the seconds of one distillation: student steps, and the networks of its validations."""
    config, data = plan.method(method), plan.data
    distill, info = config.distill, method_info(method)
    compiled = info.forwards is None and matching_choice(config, data)[0].engine == "compiled"
    if info.forwards is not None:
        forwards = info.forwards(config, data.classes, len(data.train_labels) / data.classes)
        matching = distill.iterations * forwards * watch.scored_image
    else:
        steps = distill.iterations * distill.segments * distill.syn_steps
        matching = steps * watch.student_step(config) / (_COMPILED_STUDENT if compiled else 1)
    validations = -(-distill.iterations // distill.validate_every) if distill.validate_every else 1
    recipe = TrainingRecipe.of(config.evaluate, lr=1.0, augmentation="none")
    network = _trained(recipe.passes, recipe.batch_size, distill.ipc * data.classes, watch)
    network += len(data.validation_labels) * watch.scored_image
    return matching + validations * distill.validate_networks * network + _COMPILING * compiled


def row_seconds(plan: Plan, job: EvaluationJob, watch: Stopwatch) -> float:
    """Return the seconds of one network of the final table, trained and scored."""
    config, data = job.config, plan.data
    images = config.distill.ipc * data.classes
    recipe = TrainingRecipe.of(config.evaluate, lr=1.0, augmentation="none", protocol=job.protocol)
    passes, batch = recipe.passes_over(images), recipe.batch_size
    if job.source == "full":
        images, batch = len(data.train_labels), config.expert.batch_size
        passes = full_epochs(config, images)
    scored = len(data.test_labels) * (-(-passes // config.evaluate.peak_every) if job.protocol == "peak" else 1)
    return _trained(passes, batch, images, watch) + scored * watch.scored_image


def _trained(passes: int, batch: int, images: int, watch: Stopwatch) -> float:
    return passes * -(-images // batch) * watch.training_step(min(batch, images))

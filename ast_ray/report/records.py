"""From a run directory to a record of what is in it; finished or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ast_ray.config import Config, expert_identity, fingerprint
from ast_ray.config.loading import flatten
from ast_ray.config.presets import method_config
from ast_ray.config.text_seal import unsealed_text
from ast_ray.config.titles import set_title
from ast_ray.errors import StoreError
from ast_ray.storage.folder import Folder
from ast_ray.storage.records.features import Features, read_features
from ast_ray.storage.records.manifest import NO_COMMANDS, Manifest, read_manifest
from ast_ray.storage.records.marker import read_marker
from ast_ray.storage.records.outcome import Outcome
from ast_ray.storage.records.results import ResultRow, read_results
from ast_ray.storage.records.settings import read_settings
from ast_ray.storage.run_directory import RunDirectory, moments
from ast_ray.storage.trajectory import read_metrics as read_expert
from ast_ray.telemetry.failure import Failure, run_failures
from ast_ray.telemetry.metrics import MetricRow, read_metrics
from ast_ray.telemetry.outcome import damage, read_outcome


@dataclass(frozen=True)
class MethodRecord:
    """One distillation: metric rows, outcome (None until it is finished), snapshots by iteration, expert curves.

    ``damage`` names published sets that are missing or damaged; the outcome is None then.
    """

    name: str
    config: Config
    metrics: list[MetricRow]
    outcome: Outcome | None
    snapshots: dict[int, Path]
    experts: list[dict[str, list[float]]]
    damage: str = ""

    @property
    def title(self) -> str:
        """The name as papers print it."""
        return set_title(self.name)

    @property
    def iterations(self) -> int:
        """The number of iterations done."""
        return int(self.metrics[-1]["iteration"]) if self.metrics else 0

    @property
    def avg_var(self) -> float | None:
        """Mean Avg_Var of the experts found."""
        moves = [sum(curve["move"][1:]) / len(curve["move"][1:]) for curve in self.experts if len(curve["move"]) > 1]
        return sum(moves) / len(moves) if moves else None

    @property
    def expert_accuracy(self) -> float | None:
        """Mean validation accuracy of the experts' last epochs."""
        last = [curve["validation_accuracy"][-1] for curve in self.experts]
        return sum(last) / len(last) if last else None


@dataclass(frozen=True)
class RunRecord:
    """One run directory."""

    path: Path
    name: str
    config: Config
    settings: str
    manifest: Manifest
    rows: list[ResultRow]
    verdicts: list[dict[str, Any]]
    failed: list[Failure]
    methods: list[MethodRecord]
    features: Features | None

    @property
    def finished(self) -> bool:
        """True where every method of the run is distilled and the final table exists."""
        return bool(self.rows) and not self.failed and all(method.outcome for method in self.methods)


def read_run(path: Path, *, store: str = "") -> RunRecord:
    """Read what a run directory holds; one that stands for an address is brought here first, but for its experts.

    Experts are those inside the directory, or in the user's ``store``; the directory's own settings do not say where.

    Raises:
        StoreError: not a run directory, or a damaged file in it, by name.
    """
    directory = RunDirectory(path)
    directory.require_run()
    config, manifest = read_settings(directory.config), read_manifest(directory.manifest) or NO_COMMANDS
    results = read_results(directory.results)
    return RunRecord(
        path=path,
        name=path.resolve().name,
        config=config,
        settings=unsealed_text(directory.config.read_text(encoding="utf-8")).rstrip(),
        manifest=manifest,
        rows=_rows(directory),
        verdicts=results.get("verdicts", []) if results else [],
        failed=run_failures(directory, config.run.methods, results.get("failed", []) if results else []),
        methods=[_method(directory, config, name, manifest, store) for name in config.run.methods],
        features=read_features(directory.features),
    )


def _rows(directory: RunDirectory) -> list[ResultRow]:
    """The run's own table, then tables that ``ast-ray evaluate`` left inside the directory.

    One row per set, network and protocol: the one of more networks; at the same number, scores are joined.
    """
    found: dict[tuple[str, str, str], ResultRow] = {}
    for file in (directory.results, *sorted(directory.path.glob("**/evaluation/results.json"))):
        table = read_results(file)
        for row in table["rows"] if table else ():
            key = (row["set"], row["network"], row["protocol"])
            known = found.get(key)
            if known is None or row["n"] > known["n"]:
                found[key] = row
            elif row["n"] == known["n"]:
                found[key] = {**row, **known}
    return list(found.values())


def _method(
    directory: RunDirectory, config: Config, name: str, manifest: Mapping[str, Any], store: str
) -> MethodRecord:
    place, settings = directory.method(name), method_config(config, name)
    metrics, outcome = read_metrics(place.metrics), read_outcome(place)
    if outcome is not None and (not metrics or metrics[-1]["iteration"] != outcome["iterations"]):
        reached = metrics[-1]["iteration"] if metrics else 0
        told = f"ends at iteration {reached}, {place.outcome.name} says {outcome['iterations']}; one of them is damaged"
        raise StoreError(f"{place.shown(place.metrics)}: {told}")
    broken = damage(place, outcome) if outcome is not None else ""
    return MethodRecord(
        name=name,
        config=settings,
        metrics=metrics,
        outcome=None if broken else outcome,
        snapshots=moments(place.snapshots),
        experts=_experts(
            Folder.open_read_only(store).path.expanduser() if store else directory.experts,
            expert_identity(settings, str(manifest.get("data_id", ""))),
        ),
        damage=broken,
    )


def _experts(store: Path, identity: Mapping[str, Any]) -> list[dict[str, list[float]]]:
    """Curves of the experts a method was matched to."""
    folder = store / fingerprint(identity)
    files = Folder(folder).list("expert-*.parquet")
    if not files and (other := _of_another_version(store, identity)):
        files = Folder(other).list("expert-*.parquet")
    return [read_expert(file) for file in files]


def _of_another_version(store: Path, identity: Mapping[str, Any]) -> Path | None:
    """The one buffer whose settings agree wherever both have them: settings newer than a run hide no experts."""
    folder = Folder(store)
    wanted, agreeing = flatten(identity), []
    for file in folder.list("*/buffer.json"):
        folder.fetch(file)
        marker = read_marker(file)
        found = flatten(marker["identity"]) if marker else {}
        if found and all(wanted[name] == found[name] for name in wanted.keys() & found.keys()):
            agreeing.append(file.parent)
    return agreeing[0] if len(agreeing) == 1 else None

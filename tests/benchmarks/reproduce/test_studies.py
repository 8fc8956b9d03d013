"""Every cell of every study has valid settings, and cells are the same where they should be."""

from __future__ import annotations

import pytest

from ast_ray.config import apply_overrides, schema
from ast_ray.config.loading import flatten, to_dict
from ast_ray.errors import ConfigError
from benchmarks.reproduce.cells import Cell, _content, cells_of
from benchmarks.reproduce.components import OFF, STUDENT
from benchmarks.reproduce.scales import SCALES, base_config
from benchmarks.reproduce.studies import SMALL, STUDIES, Study


def one(study: str, variant: str, *, seed: int = 0, scale: str = "cpu", base: str = SMALL) -> Cell:
    (cell,) = cells_of([study], scale, [seed], bases=[base], variants=[variant])
    return cell


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES.keys())
def test_every_cell_has_valid_settings(study: Study) -> None:
    for scale in set(SCALES) & study.bases.keys():
        cells = cells_of([study.name], scale, [0, 1])
        if scale == "cpu":  # mu 1 is the paper's scale's own value
            assert len({cell.fingerprint for cell in cells}) == len(cells)
        for variant in study.variants:
            recipes = {cell.recipe for cell in cells if cell.variant == variant}
            assert len(recipes) == len(study.bases[scale])
            assert variant.against in ("", *(other.name for other in study.variants))
    assert study.reference in ("", *(variant.name for variant in study.variants))


def test_studies_share_what_is_the_same() -> None:
    assert one("ablation", "AST").fingerprint == one("switches", "AST").fingerprint
    assert one("ablation", "AST").fingerprint == one("ladder", "+ weight perturbation").fingerprint
    assert one("ablation", "AST").fingerprint == one("methods", "AST").fingerprint
    assert one("ablation", "MTT").fingerprint == one("initial", "random / random").fingerprint
    assert one("ablation", "MTT").fingerprint != one("experts", "SGD").fingerprint  # its experts are its own
    assert one("ablation", "AST").fingerprint != one("ablation", "AST", seed=1).fingerprint


def test_where_images_lie_is_no_part_of_a_cell() -> None:
    cell = one("ablation", "AST")
    values = flatten(to_dict(cell.config))
    assert values["data.source"] == "cifar10"
    assert cell.config.seed == 0
    assert one("ablation", "AST", seed=3).config.seed == 3


def test_rows_made_before_full_steps_are_those_of_cells_that_do_without_it() -> None:
    for scale, base in (("cpu", SMALL), ("paper", "cifar10-ipc1")):
        cell = one("methods", "full", scale=scale, base=base)
        assert cell.config.evaluate.full_steps == 0
        assert "evaluate.full_steps" not in _content(cell.config)
        longer = apply_overrides(cell.config, {"evaluate.full_steps": schema()["evaluate.full_steps"].default})
        assert "evaluate.full_steps" in _content(longer)


def test_removing_and_adding_a_component_mirror_each_other() -> None:
    ast = flatten(to_dict(base_config("cpu", SMALL, "ast")))
    for name, off in OFF.items():
        without = flatten(to_dict(one("ablation", f"AST without {name}").config))
        within = flatten(to_dict(one("ablation", f"MTT with {name}").config))
        for path, value in off.items():
            assert without[path] == value
            assert within[path] == ast[path] != value


def test_the_ladder_ends_at_ast() -> None:
    base, top = one("ladder", "base").config, one("ladder", f"+ {STUDENT[-1]}").config
    mtt = base_config("cpu", SMALL, "mtt")
    for name in ("init", "balanced_inner_loss", "beta_strategy", "rho"):
        assert getattr(base.distill, name) == getattr(mtt.distill, name) != getattr(top.distill, name)
    assert base.expert == top.expert
    assert top.distill == base_config("cpu", SMALL, "ast").distill


def test_shares_of_the_iterations_are_whole() -> None:
    counts = [cell.config.distill.iterations for cell in cells_of(["speed"], "paper", [0])]
    assert counts == [5000, 500, 1250, 2500, 5000]


def test_experts_within_reach_end_where_matching_ends() -> None:
    (cell,) = cells_of(["methods"], "paper", [0], bases=["cifar10-ipc1"], variants=["AST"], reachable=True)
    assert cell.config.expert.epochs == 4
    assert cell.fingerprint != one("methods", "AST", scale="paper", base="cifar10-ipc1").fingerprint


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((["laddr"], "cpu"), "did you mean 'ladder'"),
        ((["ladder"], "gpu"), "did you mean 'cpu'"),
        ((["imagenet"], "cpu"), "no cells at scale 'cpu'"),
    ],
)
def test_unknown_names_are_told(arguments: tuple[list[str], str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        cells_of(*arguments, [0])


def test_unknown_bases_and_variants_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        cells_of(["ladder"], "cpu", [0], bases=["cifar10-smal"], variants=["bas"])
    assert "did you mean 'cifar10-small'" in str(caught.value)
    assert "did you mean 'base'" in str(caught.value)

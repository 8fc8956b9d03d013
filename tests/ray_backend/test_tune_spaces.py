from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from ast_ray.config import Config, apply_overrides
from ast_ray.config.methods import METHODS
from ast_ray.config.presets import preset
from ast_ray.errors import ConfigError
from ast_ray.ray_backend.tune.algorithms import check_algorithms
from ast_ray.ray_backend.tune.domains import draw, holds
from ast_ray.ray_backend.tune.sampling import EXPERTS, SpaceSampler
from ast_ray.ray_backend.tune.space_files import space_names
from ast_ray.ray_backend.tune.spaces import Space, check_space, load_space


def digits(**tuning: object) -> Config:
    return apply_overrides(preset("digits"), {f"tune.{name}": value for name, value in tuning.items()})


def problems(param_space: dict[str, Any], config: Config | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_space(Space("mine", "", "", param_space, {}), config or digits())
    return [str(problem) for problem in caught.value.problems]


def test_a_space_is_keyed_by_full_names() -> None:
    space = Space("mine", "", "", {"rho": tune.uniform(0, 0.1), "expert.lr": 0.01}, {})
    assert set(check_space(space, digits())) == {"distill.rho", "expert.lr"}


def test_every_problem_of_a_space_is_told_at_once() -> None:
    found = problems(
        {
            "distill.rhoo": tune.uniform(0, 1),
            "distill.syn_steps": tune.uniform(5, 20),
            "distill.beta_strategy": tune.uniform(0, 1),
            "expert.penalty_weight": tune.uniform(-1, 1),
            "expert.lr": tune.choice([0.01, "fast"]),
            "distill.init": tune.choice(["noise", "reprasentative"]),
            "distill.balanced_inner_loss": tune.choice([0, 1]),
            "distill.vartheta": {"between": (1, 2)},
        }
    )
    text = "\n".join(found)
    assert len(found) == 8
    assert "distill.rhoo" in found[0]
    assert "did you mean 'distill.rho'" in found[0]
    for needed in (
        "distill.syn_steps is a whole number; use tune.randint",
        "distill.beta_strategy is text; use tune.choice",
        "-1: must be at least 0",
        "'fast' is text; expert.lr is a number",
        "did you mean 'representative'?",
        "0: distill.balanced_inner_loss is true or false",
        "expected a ray.tune domain or a value, got dict",
    ):
        assert needed in text


@pytest.mark.parametrize(
    ("path", "domain"),
    [
        ("evaluate.passes", tune.choice([10])),
        ("data.train_size", tune.choice([10])),
        ("seed", tune.randint(0, 9)),
        ("distill.iterations", tune.choice([10])),
        ("distill.validate_networks", tune.choice([1])),
        ("tune.trials", tune.choice([1])),
    ],
)
def test_protocol_and_budget_are_not_for_a_search(path: str, domain: object) -> None:
    (found,) = problems({path: domain})
    assert "not for a search" in found


@pytest.mark.parametrize(
    ("searcher", "domain", "reason"),
    [
        ("random", tune.grid_search([0.1]), "needs tune.searcher = grid"),
        ("grid", tune.uniform(0, 0.1), "a grid needs tune.grid_search or tune.choice"),
        ("optuna", tune.sample_from(lambda _: 0.1), "needs tune.searcher = random"),
    ],
)
def test_domains_have_to_suit_the_searcher(searcher: str, domain: object, reason: str) -> None:
    (found,) = problems({"distill.rho": domain}, digits(searcher=searcher))
    assert reason in found


def test_a_range_of_whole_numbers_ends_before_its_upper_bound() -> None:
    space = {"network.depth": tune.randint(1, 9)}
    assert "not for a search" in problems(space)[0]
    check_space(Space("mine", "", "", {"distill.syn_steps": tune.randint(2, 5)}, {}), digits())
    (found,) = problems({"distill.syn_steps": tune.randint(0, 5)})
    assert "0: must be at least 1" in found


def test_a_space_without_any_valid_draw_is_refused() -> None:
    found = problems({"distill.expert_epochs": tune.choice([500, 600])})
    assert found
    assert all("in every draw of the space" in problem for problem in found)


def test_unknown_spaces_are_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'ast_core'"):
        load_space("ast-core")
    with pytest.raises(ConfigError, match="no such file"):
        load_space(str(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("param_spce = {}", "did you mean 'param_spce'"),
        ("param_space = {}", "has no param_space"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys\nsys.exit(0)", r"its code ends the process \(sys\.exit, code 0\); a space only says"),
        ("raise SystemExit('done')", r"its code ends the process \(sys\.exit, code done\)"),
        ("param_space = {'rho': 1}\nsettings = 3", "settings has to be a dictionary"),
    ],
)
def test_modules_that_are_no_space_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=reason):
        load_space(str(path))


def test_ten_lines_make_a_space(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        '"""Mine."""\nfrom ray import tune\nparam_space = {"rho": tune.uniform(0, 0.1)}\n', encoding="utf-8"
    )
    space = load_space(str(path))
    assert (space.name, space.doc) == ("mine", "Mine.")
    assert set(check_space(space, digits())) == {"distill.rho"}


@pytest.mark.parametrize("name", ["digits", "cifar10-ipc1", "cifar10-cpu"])
@pytest.mark.parametrize("space", space_names())
def test_installed_spaces_suit_the_presets(space: str, name: str) -> None:
    found = load_space(space)
    assert found.doc
    config = apply_overrides(preset(name), found.settings)
    checked = check_space(found, config)
    assert set(checked) == set(found.param_space)
    check_algorithms(config, SpaceSampler(checked, config))


def test_buffers_are_limited_and_hold_the_presets_own() -> None:
    config = apply_overrides(preset("digits"), {"tune.buffers": 3})
    space = {
        "expert.clip_schedule": tune.choice(["linear", "constant"]),
        "expert.clip_start": tune.choice([0.5, 0.7]),
        "expert.penalty_weight": tune.choice([0.1, 0.3, 1.0]),
        "distill.rho": tune.uniform(0, 0.1),
        "distill.vartheta": 8.0,
    }
    draws = SpaceSampler(check_space(Space("mine", "", "", space, {}), config), config)
    assert set(draws.space) == {EXPERTS, "distill.rho"}
    assert len(draws.combinations) == 3
    assert draws.combinations[0] == {
        "expert.clip_schedule": "linear",
        "expert.clip_start": 0.5,
        "expert.penalty_weight": 0.1,
    }
    assert SpaceSampler(draws.constants | space, config).combinations == draws.combinations
    sample = {EXPERTS: 0, "distill.rho": 0.03}
    overrides = draws.overrides(sample)
    assert overrides == {**draws.combinations[0], "distill.rho": 0.03, "distill.vartheta": 8.0}
    assert draws.sample_of(overrides) == sample
    assert draws.sample_of({**overrides, "distill.rho": 7.0}) is None
    assert draws.sample_of({**overrides, "distill.rho": 7.0}, strict=False) == {**sample, "distill.rho": 7.0}
    assert draws.preset_sample() == {EXPERTS: 0, "distill.rho": 0.01}


def test_a_grid_counts_its_points_and_turns_choices_into_lists() -> None:
    config = digits(searcher="grid")
    space = {"distill.rho": tune.grid_search([0.0, 0.1]), "distill.beta_strategy": tune.choice(["equal", "final"])}
    draws = SpaceSampler(check_space(Space("mine", "", "", space, {}), config), config)
    assert draws.grid_size() == 4
    assert draws.space["distill.beta_strategy"] == {"grid_search": ["equal", "final"]}


def test_domains_know_what_they_hold() -> None:
    assert holds(tune.choice(["a", "b"]), "a")
    assert not holds(tune.choice(["a", "b"]), "c")
    assert holds(tune.loguniform(1e-3, 0.1), 0.01)
    assert not holds(tune.loguniform(1e-3, 0.1), 0.5)
    assert holds(tune.grid_search([1, 2]), 2)


def test_draws_repeat_with_their_seed() -> None:
    space = {"a": tune.uniform(0, 1), "b": tune.choice([1, 2, 3]), "c": tune.randint(0, 100), "d": 5}
    assert draw(space, seed=4) == draw(space, seed=4) != draw(space, seed=5)
    assert draw(space, seed=4)["d"] == 5


def test_population_training_needs_something_to_perturb() -> None:
    config = digits(scheduler="pbt")
    draws = SpaceSampler({"distill.beta_strategy": tune.choice(["equal", "final"])}, config)
    with pytest.raises(ConfigError, match="can perturb"):
        check_algorithms(config, draws)


@pytest.mark.parametrize(
    ("path", "domain", "told"),
    [
        ("distill.rho", tune.uniform(0.3, 0.1), "runs down from 0.3 to 0.1"),
        ("distill.rho", tune.quniform(0.3, 0.1, 0.1), "runs down from 0.3 to 0.1"),
        ("distill.syn_steps", tune.randint(20, 10), "runs down from 20 to 10"),
        ("distill.syn_steps", tune.randint(10, 10), "holds nothing from 10 to 10"),
        ("distill.syn_steps", tune.randint(10, 10**9), "must be at most 100000"),
        ("distill.rho", tune.choice([]), "an empty list of values"),
        ("distill.rho", tune.randn(0, 1), "must be finite"),
        ("distill.rho", tune.sample_from(lambda config: config["none"]), "sample_from raises"),
        ("distill.rho", tune.sample_from(lambda config: 1 / 0), "sample_from raises ZeroDivisionError"),
        ("distill.rho", tune.sample_from(lambda config: sys.exit(0)), "sample_from raises SystemExit: 0"),
        ("distill.rho", tune.sample_from(lambda config: "much"), "'much' is text; distill.rho is a number"),
        ("distill.rho", tune.sample_from(lambda config: -1.0), "-1.0: must be at least 0"),
    ],
)
def test_domains_that_give_nothing_or_break_are_refused(path: str, domain: object, told: str) -> None:
    (found,) = problems({path: domain})
    assert told in found


def test_a_function_of_the_other_settings_is_welcome() -> None:
    halved = tune.sample_from(lambda config: config["expert.lr"] / 2)
    space = {"expert.lr": tune.uniform(0.1, 0.2), "distill.rho": halved}
    assert set(check_space(Space("mine", "", "", space, {}), digits())) == set(space)


def test_a_module_that_is_no_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(b"# -*- coding: latin-1 -*-\n# caf\xe9\nparam_space = {'distill.rho': 0.1}\n")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8"):
        load_space(str(path))
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ConfigError, match="a folder, not a file"):
        load_space(str(tmp_path / "folder.py"))


def test_a_space_varies_what_its_method_reads_and_nothing_else() -> None:
    dm = digits(method="dm")
    allowed = {"distribution_matching.real_batch": tune.choice([8]), "distill.step_img": tune.uniform(0.01, 0.1)}
    assert set(check_space(Space("mine", "", "", allowed, {}), dm)) == set(allowed)
    told = problems(
        {"expert.lr": tune.choice([0.1]), "distill.syn_steps": tune.choice([5]), "feature_alignment.moved": 0.1}, dm
    )
    assert "only settings of distill and distribution_matching leave trials of dm comparable" in told[0]
    assert "a setting of ast, mtt, ftd, tesla (tune.method)" in told[0]
    assert "dm does not read it; of distill it reads ipc, iterations" in told[1]
    assert "a setting of cafe (tune.method)" in told[2]
    assert "only settings of expert and distill" in problems(allowed)[0]


@pytest.mark.parametrize("name", [name for name in space_names() if "matching" in name or "_" in name])
def test_an_installed_space_of_another_method_names_it(name: str) -> None:
    space = load_space(name)
    base = apply_overrides(preset("cifar10-cpu"), space.settings)
    checked = check_space(space, base)
    assert set(checked) == set(space.param_space)
    info = METHODS[base.tune.method]
    if info.section:
        assert any(path.startswith(f"{info.section}.") for path in checked)

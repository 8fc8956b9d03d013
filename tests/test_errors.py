"""Typed errors: exit codes, texts, and the way through a process boundary."""

from __future__ import annotations

import pickle

import pytest

from ast_ray import errors
from ast_ray.errors import AstRayError, ConfigError, DataError, DivergenceError, Problem, counted, suggestion


def test_exit_codes_are_never_zero():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AstRayError)]
    assert len(kinds) >= 7
    assert {kind.__name__: kind.exit_code for kind in kinds if kind.exit_code != 1} == {
        "ConfigError": 2,
        "DivergenceError": 3,
    }


def test_a_problem_names_setting_value_and_reason():
    assert str(Problem("distill.ipc", 0, "must be at least 1")) == "distill.ipc = 0: must be at least 1"
    assert str(Problem("", None, "nothing to do")) == "nothing to do"


def test_a_config_error_has_one_line_per_problem():
    error = ConfigError([Problem("a", 1, "x"), Problem("b", "2", "y")])
    assert str(error) == "a = 1: x\nb = '2': y"
    assert [problem.setting for problem in error.problems] == ["a", "b"]


@pytest.mark.parametrize("error", [DataError("no"), DivergenceError("nan"), ConfigError([Problem("a", 1, "x")])])
def test_errors_travel_between_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert getattr(again, "problems", None) == getattr(error, "problems", None)


def test_nearest_name_or_all_of_them():
    assert suggestion("colour", ("color", "crop")) == "; did you mean 'color'?"
    assert suggestion("zzz", ("color", "crop")) == "; valid: color, crop"
    assert suggestion("zzz", [f"name{number}" for number in range(41)]) == ""


@pytest.mark.parametrize(
    ("number", "words", "told"),
    [
        (1, ("image",), "1 image"),
        (0, ("image",), "0 images"),
        (2, ("class",), "2 classes"),
        (2, ("epoch",), "2 epochs"),
        (3, ("batch",), "3 batches"),
        (2, ("image or class", "images or classes"), "2 images or classes"),
    ],
)
def test_numbers_have_nouns_that_fit(number: int, words: tuple[str, ...], told: str) -> None:
    assert counted(number, *words) == told

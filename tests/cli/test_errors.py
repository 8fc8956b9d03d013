from __future__ import annotations

import io
import json
import signal

import pytest
from rich.console import Console

from ast_ray.cli.errors import reported
from ast_ray.errors import AstRayError, ConfigError, DataError, DivergenceError, Problem, StoreError, TaskError
from ast_ray.signals import Ended

ERRORS: list[tuple[BaseException, int]] = [
    (ConfigError([Problem("distill.ipc", 0, "must be at least 1")]), 2),
    (DivergenceError("alpha"), 3),
    (StoreError("store"), 1),
    (DataError("data"), 1),
    (TaskError("task"), 1),
    (KeyboardInterrupt(), 130),
    (Ended(signal.SIGTERM), 143),
    (Ended(signal.SIGHUP), 129),
]


def report(error: BaseException, *, as_json: bool = False) -> tuple[int, str]:
    stream = io.StringIO()

    def work() -> None:
        with reported(Console(file=stream, width=80), as_json=as_json, resume=lambda: "ast-ray run --out 'a b'"):
            raise error

    with pytest.raises(SystemExit) as caught:
        work()
    assert isinstance(caught.value.code, int)
    return caught.value.code, stream.getvalue()


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_exit_codes_and_json(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error)[0] == code
    assert capsys.readouterr().out == ""
    assert report(error, as_json=True)[0] == code
    found = json.loads(capsys.readouterr().out)["error"]
    assert found["type"] == ("Interrupted" if code > 128 else type(error).__name__)
    assert found["message"]


def test_paths_and_markup_stand_as_they_are() -> None:
    path = "/folder[1]/" + "deep/" * 60
    _, text = report(StoreError(f"{path}: damaged"))
    assert text == f"error: {path}: damaged\n"


def test_notes_are_shown() -> None:
    error = AstRayError("first")
    error.add_note("2 of 5 jobs failed")
    assert report(error)[1] == "error: first\n  2 of 5 jobs failed\n"


def test_the_resume_command_can_be_copied() -> None:
    assert report(KeyboardInterrupt())[1].endswith("Go on with:\n  ast-ray run --out 'a b'\n")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), reported(Console(), as_json=True, resume=str):
        raise ZeroDivisionError

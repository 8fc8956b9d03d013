from __future__ import annotations

import errno
import io
import json
import signal
import sys

import pytest
from rich.console import Console

from ast_ray.cli.errors import TRACE, reported
from ast_ray.cli.streams import say_json
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


def test_a_bug_is_one_message_that_says_how_to_see_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TRACE, raising=False)
    code, text = report(ZeroDivisionError("division by zero"))
    assert code == 1
    assert text.startswith("error: unexpected ZeroDivisionError: division by zero\n")
    assert f"{TRACE}=1" in text
    assert "Traceback" not in text
    assert report(ZeroDivisionError("division by zero"), as_json=True)[0] == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "UnexpectedError"
    monkeypatch.setenv(TRACE, "1")
    shown = report(ZeroDivisionError("division by zero"))[1]
    assert "Traceback" in shown
    assert "raise error" in shown


class _TaskError(Exception):
    """As Ray wraps what a task raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("pages of text\n" * 9)
        self.cause = cause


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/run/x"),
            "ResourceError",
            "/run/x: No space left on device; free",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "ResourceError", "No space left on device; free space"),
        (PermissionError(errno.EACCES, "Permission denied", "/run/x"), "ResourceError", "/run/x: Permission denied"),
        (MemoryError(), "ResourceError", "the memory is used up"),
        (_TaskError(OSError(errno.EIO, "Input/output error", "/run/x")), "ResourceError", "/run/x: Input/output error"),
        (_TaskError(KeyError("x")), "UnexpectedError", "unexpected KeyError: KeyError: 'x'"),
        (_TaskError(DataError("data")), "DataError", "data"),
    ],
)
def test_what_is_not_ours_is_told_in_one_line(
    error: Exception, kind: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = report(error, as_json=True)
    found = json.loads(capsys.readouterr().out)["error"]
    assert (code, found["type"]) == (1, kind)
    assert text in found["message"]
    assert shown.startswith("error: ")
    assert "pages of text" not in shown


def test_nothing_but_json_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with reported(Console(stderr=True), as_json=True, resume=str):
        sys.stdout.write("somebody prints\n")
        say_json({"mean": float("nan"), "rows": [1, (2.5, float("inf"))]})
    captured = capsys.readouterr()
    assert captured.out == '{"mean": null, "rows": [1, [2.5, null]]}\n'
    assert "somebody prints" in captured.err

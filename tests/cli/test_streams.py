"""Terminals and disks that take less than what is written to them, and impatient people."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import subprocess_environment

_LATE = """
import signal, sys, threading
from ast_ray import __main__, cli
from ast_ray.cli import main as module

def work(*_):
    try:
        sys.stdout.write("ready\\n"); sys.stdout.flush()
        threading.Event().wait(60)
    finally:
        try:  # around the word too: the next signal comes as soon as it is read
            sys.stdout.write("cleaning\\n"); sys.stdout.flush()
            threading.Event().wait(60)
        finally:
            sys.stdout.write("still\\n"); sys.stdout.flush()
            threading.Event().wait(60)

module.main = work
__main__.run()
"""


def ast_ray(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ast_ray", *words]
    return subprocess.run(command, env={**subprocess_environment(), **environment}, capture_output=True, text=True)


@pytest.mark.parametrize(
    "words", [["presets", "list"], ["presets", "list", "--json"], ["--help"], ["presets", "show", "digits"]]
)
def test_a_full_disk_behind_stdout_is_one_message(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "ast_ray", *words]
        done = subprocess.run(command, env=subprocess_environment(), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_reader_that_goes_away_is_no_news() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ast_ray", "presets", "show", "digits"]
    done = subprocess.run(command, env=subprocess_environment(), stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == ""


def test_a_terminal_that_knows_ascii_only() -> None:
    done = ast_ray("presets", "list", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "+-" in done.stdout
    assert done.stdout.isascii()


def test_the_third_ctrl_c_ends_at_once_and_without_a_trace() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _LATE],
        env=subprocess_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in ("ready", "cleaning", "still"):
        assert process.stdout.readline().strip() == line
        process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=30)
    assert process.returncode == 130
    assert messages == ""

"""The command as typed: what a run records, and what a person types to go on."""

from __future__ import annotations

import shlex
import sys

from ast_ray.config.address import scrubbed


def command_line() -> list[str]:
    """The command as typed, but for credentials in addresses."""
    return ["ast-ray", *map(scrubbed, sys.argv[1:])]


def resume_command() -> str:
    """Return the command line that resumes this one."""
    return shlex.join(command_line())

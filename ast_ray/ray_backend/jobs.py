"""Jobs on a running cluster through Ray's Jobs API: submit, follow, stop.

The driver runs on the cluster, so nothing there needs the machine that submitted: its connection may break, and anybody
with the cluster's token and the job's name takes up the log again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ast_ray.errors import ConfigError, Problem, ResourceError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
_ENDED = {"SUCCEEDED": 0, "FAILED": 1, "STOPPED": 130}
_REACH_SECONDS = 5.0
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.5
_NO_AGENT_YET = "No available agent"
_CHATTY = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
# A stopped job gets Ctrl-C and time to write its checkpoint; Ray's own way is SIGTERM and SIGKILL three seconds later.
_ENVIRONMENT = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}


@dataclass(frozen=True)
class Outcome:
    """The end of a job: Ray's status, the exit code of its command, and Ray's message."""

    status: str
    exit_code: int
    message: str


def connect(address: str) -> Any:
    """Return a client of the Jobs API at a dashboard's address.

    Raises:
        ConfigError: the address is none of a dashboard; ResourceError: nothing answers there, or it refuses the token.
    """
    try:
        parts = urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        shown = address if "@" not in address else "***"
        raise ConfigError([Problem("address", shown, f"not an address: {error}")]) from None
    if parts.username or parts.password:
        shown = address.replace(parts.netloc.rpartition("@")[0], "***")
        reason = "credentials do not belong in an address; set RAY_AUTH_TOKEN in the environment"
        raise ConfigError([Problem("address", shown, reason)])
    if parts.scheme not in ("http", "https") or not parts.hostname:
        reason = f"expected the dashboard's address, such as {DEFAULT_ADDRESS} (`ray dashboard` forwards it)"
        raise ConfigError([Problem("address", address, reason)])
    try:
        socket.create_connection((parts.hostname, port), timeout=_REACH_SECONDS).close()
    except OSError as error:
        raise ResourceError(
            f"{address}: no cluster answers ({error}); is it up, and forwarded by `ray dashboard CLUSTER.yaml`?"
        ) from error
    from ray.job_submission import JobSubmissionClient

    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with _explained(address), _only(address):
        return JobSubmissionClient(address)


@contextmanager
def _only(address: str) -> Iterator[None]:
    """Ray prefers the variable to the argument; for the block both say the same."""
    before = os.environ.get(ADDRESS_VARIABLE)
    os.environ[ADDRESS_VARIABLE] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[ADDRESS_VARIABLE]
        else:
            os.environ[ADDRESS_VARIABLE] = before


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Say what to do about errors of the Jobs API; its own texts are pages long."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        if os.environ.get("RAY_AUTH_MODE") != "token":
            todo = "it asks for a token: export RAY_AUTH_MODE=token, with the cluster's token in ~/.ray/auth_token"
        else:
            todo = "it refuses the token in ~/.ray/auth_token (or RAY_AUTH_TOKEN): copy the cluster's own to here"
        raise ResourceError(f"{address}: {todo}") from error
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
        raise ResourceError(f"{address}: {str(error).splitlines()[0]}") from error


def submit(client: Any, words: Sequence[str], *, address: str, folder: Path | None = None) -> str:
    """Start ``ast-ray WORDS`` on the cluster's head and return the job's name.

    Args:
        client: of `connect`.
        words: command and options.
        address: for messages.
        folder: small files that are copied into the job's working directory.

    Raises:
        ResourceError: the cluster does not take the job.
    """
    name = f"ast-ray-{words[0]}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    runtime: dict[str, Any] = {"env_vars": _ENVIRONMENT}
    if folder is not None:
        runtime["working_dir"] = str(folder)
    entrypoint, until = shlex.join(["python", "-m", "ast_ray", *words]), time.monotonic() + _PATIENCE_SECONDS
    with _explained(address):
        while True:
            try:
                return str(client.submit_job(entrypoint=entrypoint, runtime_env=runtime, submission_id=name))
            except RuntimeError as error:  # a head that has just started answers before its agent does
                if _NO_AGENT_YET not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(_POLL_SECONDS)


def follow(client: Any, name: str, write: Callable[[str], Any], *, address: str) -> Outcome:
    """Hand on what the job prints, from its first line, until it ends; a broken connection is taken up again.

    Raises:
        ResourceError: no such job, or the cluster has not answered for two minutes.
    """
    outcome(client, name, address=address)
    log, since = _Log(write), time.monotonic()
    while True:
        try:
            asyncio.run(log.tail(client, name))
            found = outcome(client, name, address=address)
            if found.status in _ENDED:
                return found
            since = time.monotonic()
        except (OSError, RuntimeError, ResourceError) as error:
            if time.monotonic() - since > _PATIENCE_SECONDS:
                raise ResourceError(f"{address}: no answer any more ({error}); the job may well run on") from error
        time.sleep(_POLL_SECONDS)


class _Log:
    """A job's log, which Ray sends from its first character at every connection; nothing is written twice."""

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write, self._shown = write, 0

    async def tail(self, client: Any, name: str) -> None:
        """Write what is new until the connection or the job ends."""
        seen = 0
        async for text in client.tail_job_logs(name):
            if seen + len(text) > self._shown:
                self._write(text[max(self._shown - seen, 0) :])
                self._shown = seen + len(text)
            seen += len(text)


def outcome(client: Any, name: str, *, address: str) -> Outcome:
    """Return the job's present status, or its end.

    Raises:
        ResourceError: no such job, or no answer.
    """
    try:
        with _explained(address):
            info = client.get_job_info(name)
    except ResourceError as error:
        if "404" in str(error):
            raise ResourceError(f"{address}: no job {name!r} there; `ray job list` shows them") from error
        raise
    status = str(info.status.value)
    code = info.driver_exit_code
    return Outcome(status, _ENDED.get(status, 1) if code is None else int(code), info.message or "")


def stop(client: Any, name: str, *, address: str) -> bool:
    """Ask the job to end as Ctrl-C would; return whether it was running.

    Raises:
        ResourceError: no such job, or no answer.
    """
    outcome(client, name, address=address)
    with _explained(address):
        return bool(client.stop_job(name))

"""Objects in S3 or Google Cloud Storage through pyarrow: whole reads and writes, retried, with one clear error.

What the SDK retries by itself (busy servers) is left to it; on top, everything that is not a definite answer (dropped
connections, errors that outlast the SDK) is tried again with growing pauses, a bounded number of times.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from ast_ray.config.address import Address, parse_address
from ast_ray.config.files import reason
from ast_ray.errors import ConfigError, Problem, ResourceError

R = TypeVar("R")
_CHUNK = 4 * 2**20
_GCS_RETRIES = timedelta(seconds=10)
_DENIED = (
    "ACCESS_DENIED",
    "EXPIRED_TOKEN",
    "HTTP status 403",
    "INVALID_ACCESS_KEY",
    "INVALID_CLIENT_TOKEN",
    "MISSING_AUTHENTICATION",
    "OAuth2 access token",
    "PERMISSION_DENIED",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNRECOGNIZED_CLIENT",
    "Unauthenticated",
)
_DETOURS = (
    *("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"),
    "CLOUD_STORAGE_EMULATOR_ENDPOINT",
)
_KNOCKS, _KNOCK_SECONDS = 3, 5.0
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_WHERE = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account",
}


@dataclass(frozen=True)
class Patience:
    """The retries of a request: their number, and the pauses between them in seconds, doubled each time."""

    attempts: int = 8
    first: float = 0.2
    longest: float = 10.0


PATIENCE = Patience()


@dataclass(frozen=True)
class ObjectInfo:
    """An object in a listing."""

    size: int
    mtime_ns: int


@lru_cache(maxsize=16)
def _filesystem(authority: str) -> Any:
    """The file system of an authority; nothing is kept of one that does not answer.

    Raises:
        ResourceError: nothing answers.
    """
    address = parse_address(authority)
    options = _options(address)
    require_answer(address, options)
    if address.scheme == "gs":
        return fs.GcsFileSystem(retry_time_limit=_GCS_RETRIES, **options)  # its own limit is a quarter of an hour
    region = _region(options)
    options.pop("region", None)
    if region is None and "endpoint_override" not in options:
        region = fs.resolve_s3_region(address.bucket)
    # Delayed open: a small object is one request, and either whole or not there.
    return fs.S3FileSystem(region=region, allow_delayed_open=True, background_writes=False, **options)


def _options(address: Address) -> dict[str, str]:
    """The options of an address, and the endpoint that the environment names for S3."""
    options = dict(address.options)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if address.scheme == "s3" and endpoint and "endpoint_override" not in options:
        parts = urlsplit(endpoint)
        options = {"endpoint_override": parts.netloc, "scheme": parts.scheme, **options}
    return options


def _region(options: Mapping[str, str]) -> str | None:
    return options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def _host(scheme: str, region: str | None) -> str:
    """Return the host the SDK goes to without an endpoint; in a private network only the region's own may answer."""
    if scheme == "gs":
        return "storage.googleapis.com"
    if region is None:
        return "s3.amazonaws.com"
    return f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def require_answer(address: Address, options: Mapping[str, str]) -> None:
    """Check in a few seconds that something listens at an endpoint, before the SDK tries for a minute.

    Behind a proxy or an emulator, which the SDK finds by itself, nothing is checked.

    Raises:
        ResourceError: nothing listens, or no such host.
    """
    if any(os.environ.get(name) for name in _DETOURS):
        return
    plain = options.get("scheme") == "http"
    parts = urlsplit(f"//{options.get('endpoint_override') or _host(address.scheme, _region(options))}")
    try:
        host, port = parts.hostname or "", parts.port or (80 if plain else 443)
    except ValueError as error:
        raise ResourceError(f"{address}: its endpoint is no host and port ({error})") from None
    for attempt in range(_KNOCKS):
        time.sleep(attempt / 2)
        try:
            socket.create_connection((host, port), timeout=_KNOCK_SECONDS).close()
            return
        except (TimeoutError, socket.gaierror, ValueError) as error:
            problem: Exception = error
            break
        except OSError as error:  # refused: a service that starts again is given a moment
            problem = error
    raise ResourceError(
        f"{address}: nothing answers at {host}:{port} ({reason(problem)}); is it up, and the address right?"
    )


def _ask(address: Address, action: Callable[[Any, str], R], *, doing: str) -> R:
    """Do ``action(file system, "bucket/key")``, patiently.

    Raises:
        ResourceError: refused, or no answer after every attempt; FileNotFoundError: nothing there.
    """
    pause = PATIENCE.first
    failure = ""
    place = f"{address.bucket}/{address.key}".rstrip("/")
    for attempt in range(PATIENCE.attempts):
        if attempt:
            time.sleep(pause * (0.5 + random.SystemRandom().random()))
            pause = min(2 * pause, PATIENCE.longest)
        try:
            return action(_filesystem(address.authority), place)
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            failure = _first_line(error)
            if any(word in failure for word in _DENIED):
                hint = f"no permission, or no valid credentials ({_WHERE[address.scheme]})"
                raise ResourceError(f"{address}: cannot be {doing}: {hint}: {failure}") from None
            if "NO_SUCH_BUCKET" in failure or ("Bucket" in failure and "not found" in failure):
                raise ResourceError(f"{address}: there is no bucket {address.bucket!r}") from None
    raise ResourceError(f"{address}: cannot be {doing}, tried {PATIENCE.attempts} times: {failure}")


def _first_line(error: BaseException) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    for secret in filter(None, map(os.environ.get, _SECRETS)):
        text = text.replace(secret, "***")
    return text[:300]


def read(address: Address) -> bytes | None:
    """The content of a small object, None where there is none."""

    def action(system: Any, place: str) -> bytes:
        with system.open_input_stream(place) as stream:
            return bytes(stream.read())

    try:
        return _ask(address, action, doing="read")
    except FileNotFoundError:
        return None


def download(address: Address, target: Path) -> str | None:
    """Copy an object to a file and return ``<sha256> <bytes>`` of what arrived, None where there is none."""

    def action(system: Any, place: str) -> str:
        digest, size = hashlib.sha256(), 0
        with system.open_input_stream(place) as stream, target.open("wb") as file:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                size += file.write(chunk)
        return f"{digest.hexdigest()} {size}"

    try:
        return _ask(address, action, doing="read")
    except FileNotFoundError:
        return None


def write(address: Address, content: bytes) -> None:
    """Put a small object."""

    def action(system: Any, place: str) -> None:
        with system.open_output_stream(place) as stream:
            stream.write(content)

    _ask(address, action, doing="written")


def upload(path: Path, address: Address) -> None:
    """Put a file."""

    def action(system: Any, place: str) -> None:
        with path.open("rb") as file, system.open_output_stream(place) as stream:
            shutil.copyfileobj(file, stream, _CHUNK)

    _ask(address, action, doing="written")


def delete(address: Address) -> None:
    """Remove an object; one that is not there is fine."""
    try:
        _ask(address, lambda system, place: system.delete_file(place), doing="removed")
    except FileNotFoundError:
        return


def size(address: Address) -> int | None:
    """Bytes of an object, None where there is none."""
    info = _ask(address, lambda system, place: system.get_file_info(place), doing="read")
    return int(info.size) if info.type == fs.FileType.File else None


def modified(address: Address) -> int | None:
    """Return when an object was written, in nanoseconds of the store's clock; None where there is none."""
    info = _ask(address, lambda system, place: system.get_file_info(place), doing="read")
    return info.mtime_ns if info.type == fs.FileType.File else None


def listing(address: Address) -> dict[str, ObjectInfo]:
    """Every object below an address, by its key relative to it."""

    def action(system: Any, place: str) -> dict[str, ObjectInfo]:
        selector = fs.FileSelector(place, recursive=True, allow_not_found=True)
        found = [info for info in system.get_file_info(selector) if info.type == fs.FileType.File]
        return {info.path[len(place) + 1 :]: ObjectInfo(info.size, info.mtime_ns or 0) for info in found}

    return _ask(address, action, doing="listed")


def open_ranges(address: Address) -> Any:
    """A random-access file that reads ranges of an object.

    Raises:
        FileNotFoundError: nothing there.
    """
    return _ask(address, lambda system, place: system.open_input_file(place), doing="read")


def check(address: Address, setting: str, *, writing: bool) -> None:
    """Refuse before any work a bucket that is not there, or that cannot be read (or written to).

    Raises:
        ConfigError: no such bucket; ResourceError: no answer, no permission.
    """
    bucket = Address(address.scheme, address.bucket, "", address.options)
    info = _ask(bucket, lambda system, place: system.get_file_info(place), doing="read")
    if info.type == fs.FileType.NotFound:
        raise ConfigError([Problem(setting, str(address), f"there is no bucket {address.bucket!r}")])
    if writing:
        probe = Address(address.scheme, address.bucket, f"{address.key}/.writable-{os.getpid()}", address.options)
        write(probe, b"x")
        delete(probe)

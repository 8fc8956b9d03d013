"""Syntax of places for artefacts: a path of this machine, or an address in an object store (s3://, gs://).

Every text that a person gives as a place goes through here: `parse_address` where addresses are welcome, `local_path`
where only this machine's files will do. Credentials have no place in an address: they come from the environment, where
no file of a run repeats them; `scrubbed` keeps them out of messages and records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from ast_ray.errors import ConfigError, Problem, suggestion

OPTIONS = {"s3": ("endpoint_override", "scheme", "region"), "gs": ("endpoint_override", "scheme")}
_ONE_SLASH = re.compile(r"(s3|gs|gcs|file):/(?!/)")
_ADDRESS = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*://|{_ONE_SLASH.pattern}")
_HEAD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(:/{1,2})(.*)", re.DOTALL)
_INSIDE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}[^\s'\"]+")
_ENVIRONMENT = "credentials do not belong in an address; set them in the environment (docs/how-to/storage.md)"


@dataclass(frozen=True)
class Address:
    """A place in an object store; ``key`` has no slash at either end and is empty for a whole bucket."""

    scheme: str
    bucket: str
    key: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def authority(self) -> str:
        """Everything but the key: ``s3://bucket?region=eu-west-1``."""
        return f"{self.scheme}://{self.bucket}{self._query}"

    @property
    def _query(self) -> str:
        return f"?{urlencode(self.options)}" if self.options else ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}{self._query}"


def is_address(text: str) -> bool:
    """Return whether a text is meant as an address and not as a folder."""
    return bool(_ADDRESS.match(text))


def parse_address(text: str, setting: str = "address") -> Address:
    """Take an address apart.

    Raises:
        ConfigError: unknown scheme or option, no bucket, credentials in it, or a key that leaves its folder. It shows
            no user, password or value of an unknown option.
    """
    reason = _problem(text)
    if reason:
        raise ConfigError([Problem(setting, redacted(text), reason)])
    scheme, place, query = _split(text)
    bucket, _, key = place.partition("/")
    return Address(scheme, bucket, key.removesuffix("/"), tuple(sorted(parse_qsl(query))))


def _split(text: str) -> tuple[str, str, str]:
    """Return the scheme, the bucket with the key, and the options."""
    scheme, _, rest = text.partition("://")
    place, _, query = rest.partition("?")
    return scheme, place, query


def _problem(text: str) -> str | None:
    scheme, place, query = _split(text)
    bucket, _, key = place.partition("/")
    if _ONE_SLASH.match(text):
        return "an address has two slashes after the scheme, e.g. s3://bucket/runs/digits"
    if scheme not in OPTIONS:
        return f"unknown scheme {scheme!r}{suggestion(scheme, OPTIONS)}; folders are given without one"
    if _user(f"{place}?{query}"):
        return _ENVIRONMENT
    if not bucket or ":" in bucket:
        return f"names no bucket, e.g. {scheme}://bucket/runs/digits"
    key = key.removesuffix("/")
    if key and any(part in ("", ".", "..") for part in key.split("/")):
        return "empty parts, '.' and '..' are not allowed in an address"
    return next(
        filter(None, (_option_problem(scheme, *pair) for pair in parse_qsl(query, keep_blank_values=True))), None
    )


def _option_problem(scheme: str, name: str, value: str) -> str | None:
    if not value:
        return "an option is name=value; credentials belong in the environment"
    if name not in OPTIONS[scheme]:
        return f"unknown option {name!r}{suggestion(name, OPTIONS[scheme])}; credentials belong in the environment"
    if name == "scheme" and value not in ("http", "https"):
        return f"option scheme = {value!r}: http or https"
    return f"option {name!r}: credentials belong in the environment" if "@" in value else None


def _user(rest: str) -> str:
    """The part of an address, behind its scheme, that names a user or a password; a secret may hold / and ?."""
    before, at, _ = rest.rpartition("@")
    authority = rest.partition("/")[0]
    return before + at if at and ("@" in authority or ":" in authority.partition("?")[0]) else ""


def redacted(text: str) -> str:
    """The address without user, password and values of options that are not ours."""
    found = _HEAD.fullmatch(text)
    if found is None:
        return text
    scheme, slashes, rest = found.groups()
    user = _user(rest)
    place, mark, query = (f"***@{rest.removeprefix(user)}" if user else rest).partition("?")
    known = OPTIONS.get(scheme, ())
    pairs = [
        f"{name if value else '***'}={value if name in known and '@' not in value else '***'}"
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f"{scheme}{slashes}{place}{mark}{'&'.join(pairs)}"


def secret_problem(text: str, setting: str) -> Problem | None:
    """Return the problem of an address that holds a user, a password or (s3, gs) an option that is not ours."""
    found = _HEAD.fullmatch(text)
    if found is None or not _has_secret(text):
        return None
    return Problem(setting, redacted(text), _ENVIRONMENT)


def _has_secret(text: str) -> bool:
    found = _HEAD.fullmatch(text)
    assert found is not None
    scheme, _, rest = found.groups()
    options = parse_qsl(rest.partition("?")[2], keep_blank_values=True) if scheme in OPTIONS else []
    return bool(_user(rest)) or any(name not in OPTIONS[scheme] or "@" in value for name, value in options)


def scrubbed(text: str) -> str:
    """Return a text with every address in it redacted that holds a secret; other addresses are left as they are."""
    return _INSIDE.sub(lambda found: redacted(found[0]) if _has_secret(found[0]) else found[0], text)


def address_problem(text: str, setting: str) -> Problem | None:
    """Return the problem of an address that cannot be; None for one that can and for a path."""
    reason = _problem(text) if _ADDRESS.match(text) else None
    return Problem(setting, redacted(text), reason) if reason else None


def local_problem(text: str, setting: str, reason: str = "a path of this machine, not an address") -> Problem | None:
    """Return the problem of an address where only this machine's files will do; None for a path."""
    return Problem(setting, redacted(text), reason) if _ADDRESS.match(text) else None


def local_path(text: str, setting: str, reason: str = "a path of this machine, not an address") -> Path:
    """Return the absolute path of a text that has to name a file or folder of this machine.

    Raises:
        ConfigError: an address, or a path that cannot be (~ of an unknown user, a NUL in it).
    """
    problem = local_problem(text, setting, reason)
    if problem is not None:
        raise ConfigError([problem])
    try:
        return Path(text).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError([Problem(setting, text, f"cannot be a path: {error}")]) from None

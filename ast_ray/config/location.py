"""Where artefacts may lie: a folder, or an address in an object store (s3://, gs://). Syntax only.

Credentials have no place in an address: they come from the environment, where no file of a run repeats them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from ast_ray.errors import ConfigError, Problem, nearest

OPTIONS = {"s3": ("endpoint_override", "scheme", "region"), "gs": ("endpoint_override", "scheme")}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ONE_SLASH = re.compile(r"(s3|gs|gcs|file):/(?!/)")


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
    """Whether a text is meant as an address and not as a folder."""
    return bool(_SCHEME.match(text) or _ONE_SLASH.match(text))


def parse_address(text: str, setting: str = "address") -> Address:
    """Take an address apart.

    Raises:
        ConfigError: unknown scheme or option, no bucket, credentials in it, or a key that leaves its folder. It shows
            no user, password or value of an unknown option.
    """
    scheme, _, rest = text.partition("://")
    place, _, query = rest.partition("?")
    reason = _problem(text, scheme, place, query)
    if reason:
        raise ConfigError([Problem(setting, redacted(text), reason)])
    bucket, _, key = place.partition("/")
    return Address(scheme, bucket, key.removesuffix("/"), tuple(sorted(parse_qsl(query))))


def _problem(text: str, scheme: str, place: str, query: str) -> str | None:
    bucket, _, key = place.partition("/")
    if _ONE_SLASH.match(text):
        return "an address has two slashes after the scheme, e.g. s3://bucket/runs/digits"
    if scheme not in OPTIONS:
        return f"unknown scheme {scheme!r}{nearest(scheme, OPTIONS)}; folders are given without one"
    if "@" in bucket:
        return "credentials do not belong in an address; set them in the environment (docs/how-to/storage.md)"
    if not bucket:
        return f"names no bucket, e.g. {scheme}://bucket/runs/digits"
    key = key.removesuffix("/")
    if key and any(part in ("", ".", "..") for part in key.split("/")):
        return "empty parts, '.' and '..' are not allowed in an address"
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS[scheme]:
            return f"unknown option {name!r}{nearest(name, OPTIONS[scheme])}; credentials belong in the environment"
        if name == "scheme" and value not in ("http", "https"):
            return f"option scheme = {value!r}: http or https"
        if "@" in value:
            return f"option {name!r}: credentials belong in the environment"
    return None


def redacted(text: str) -> str:
    """The address without user, password and values of options that are not ours."""
    scheme, slashes, rest = text.partition("://")
    place, mark, query = rest.partition("?")
    authority, slash, key = place.partition("/")
    if "@" in authority:
        authority = "***@" + authority.rpartition("@")[2]
    known = OPTIONS.get(scheme, ())
    pairs = [
        f"{name}={value if name in known and '@' not in value else '***'}"
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f"{scheme}{slashes}{authority}{slash}{key}{mark}{'&'.join(pairs)}"

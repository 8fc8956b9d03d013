"""Checksums of texts, and files of text that carry their own in a first line.

A checksum tells damage from content; it is no signature. What was written before there were any is read without.
"""

from __future__ import annotations

import hashlib

PREFIX = "sha256:"
_DIGITS = 16
_MARK = " checksum of the lines below: "
_EARLIER_MARK = " checksum of the lines above: "  # as earlier versions wrote it, in a last line that a cut takes away


def text_checksum(text: str) -> str:
    """Return the checksum of a text: the beginning of its SHA-256.

    >>> text_checksum("seed: 1")
    'sha256:e8b0d9f7f4027917'
    """
    return PREFIX + hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def sealed_text(text: str) -> str:
    """Return whole lines below one more, a comment in YAML, with their checksum: a file cut anywhere is noticed."""
    return f"#{_MARK}{text_checksum(text)}\n{text}"


def unsealed_text(text: str) -> str:
    """Return the lines without the one that holds their checksum; a text that has none is returned as it is.

    Raises:
        ValueError: the lines are not those that were sealed.
    """
    first, _, below = text.partition("\n")
    if _MARK.strip() in first:
        return _checked(below, first == f"#{_MARK}{text_checksum(below)}", "first")
    above, mark, told = text.rpartition(_EARLIER_MARK)
    if not mark:
        return text
    lines = above.removesuffix("#")
    return _checked(lines, lines != above and told.rstrip() == text_checksum(lines), "last")


def _checked(lines: str, fits: bool, place: str) -> str:
    if not fits:
        told = f"its {place} line, a checksum, does not fit; if it was edited on purpose, delete that line"
        raise ValueError(f"damaged or edited: {told}")
    return lines

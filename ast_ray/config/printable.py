"""Texts out of files as text: names of classes, sets and folders that hold no instruction for a terminal or a page."""

from __future__ import annotations

import unicodedata

# Control, format (writing direction among them), surrogate (bytes that are no text), line and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # parts of words in several scripts, and of emoji


def printable(text: str) -> str:
    """Return the text with every invisible character spelled out; line breaks and tabs stay.

    >>> printable("red" + chr(27) + "[31m") == "red" + chr(92) + "x1b[31m"
    True
    """
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else char.encode("unicode_escape").decode() for char in text)


def one_line(text: str) -> str:
    """Return a name as one line of `printable` text."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _harmless(char: str) -> bool:
    return char in "\n\t" or char in _JOINERS or unicodedata.category(char) not in _UNSEEN

"""Permissions of published files and folders: what the user's umask leaves, and always open to their writer."""

from __future__ import annotations

import os


def _allowed(most: int) -> int:
    """Return what the umask leaves of ``most``."""
    mask = os.umask(0o077)
    os.umask(mask)
    return most & ~mask | most & 0o700


FILE, FOLDER = _allowed(0o666), _allowed(0o777)
"""Modes of published files and folders, read once: a umask is asked by setting it, which every thread would see."""

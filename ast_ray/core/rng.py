"""Random streams derived from counters, so that no draw depends on what ran before it.

A stream is named by (seed, role, numbers...); the same name gives the same draws on any worker, in any order, after
any restart. Generators live on the CPU: draws are small, and then equal on every device.
"""

from __future__ import annotations

import hashlib
import json

import torch


def stream(seed: int, *name: str | int) -> torch.Generator:
    """Return a fresh CPU generator for the stream ``(seed, *name)``."""
    generator = torch.Generator()
    generator.manual_seed(stream_seed(seed, *name))
    return generator


def stream_seed(seed: int, *name: str | int) -> int:
    """Return the 63-bit seed of a stream, for libraries that want a number."""
    digest = hashlib.sha256(json.dumps([seed, *name]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1

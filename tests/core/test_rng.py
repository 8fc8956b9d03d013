"""Streams are named, not shared."""

from __future__ import annotations

import torch

from ast_ray.core.rng import stream, stream_seed


def _draws(*name: str | int) -> list[float]:
    return torch.rand(4, generator=stream(*name)).tolist()


def test_the_same_name_gives_the_same_draws_in_any_order():
    names = [(0, "expert", 1), (0, "expert", 2), (1, "expert", 1), (0, "distill", 1), (0, "expert", "1"), (0, "expert")]
    forward = {name: _draws(*name) for name in names}
    backward = {name: _draws(*name) for name in reversed(names)}
    assert forward == backward
    assert len({tuple(draws) for draws in forward.values()}) == len(names)


def test_drawing_from_one_stream_leaves_the_others_alone():
    first, second = stream(0, "a"), stream(0, "b")
    torch.rand(100, generator=first)
    assert torch.rand(4, generator=second).tolist() == _draws(0, "b")


def test_the_numbers_are_pinned():
    """SHA-256 of the JSON name, first 8 bytes, without the top bit: a change would rename every artefact's draws."""
    import hashlib

    for name in [(0,), (5, "expert", 3, "epoch", 0)]:
        text = "[" + ", ".join(f'"{part}"' if isinstance(part, str) else str(part) for part in name) + "]"
        expected = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) // 2
        assert stream_seed(*name) == expected
        assert 0 <= expected < 2**63
        assert stream(*name).initial_seed() == expected


def test_streams_live_on_the_cpu():
    assert stream(0).device.type == "cpu"

"""The written-out step as CUDA graphs: captured at its first use per shape, then replayed for every step and iteration.

A replay launches the whole step at once, where launching its hundred kernels one by one would leave the GPU waiting.
Inputs are copied into fixed buffers; results live in the graph's memory until its next replay. The stored method
captures one pair of graphs per student step (``slot``), recompute one pair in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ast_ray.core.engines.autograd import StepData
from ast_ray.core.engines.convnet.engine import ManualConvNetEngine

_WARM_UP = 3  # before a capture, so that compilation and workspace allocation are over


@dataclass
class _Slot:
    """The graphs of one step: its gradient, and once it has been asked for, the derivative."""

    theta: Tensor
    data: StepData
    forward: torch.cuda.CUDAGraph
    gradient: Tensor
    kept: Any
    toward: Tensor | None = None
    backward: torch.cuda.CUDAGraph | None = None
    through: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class GraphedEngine:
    """Replays graphs of ``inner``'s two functions."""

    inner: ManualConvNetEngine
    _slots: dict[tuple[object, ...], _Slot] = field(default_factory=dict)

    def gradient(self, theta: Tensor, data: StepData, *, keep: bool, slot: int = 0) -> tuple[Tensor, Any]:
        """See `step.Engine`; without ``keep`` the one pair of graphs of slot 0 serves every step."""
        mask = data.feature_mask
        shapes = (tuple(data.images.shape), tuple(data.labels.shape), None if mask is None else tuple(mask.shape))
        key = (slot if keep else 0, *shapes)
        found = self._slots.get(key)
        if found is None:
            found = self._slots[key] = self._capture(theta, data)
        found.theta.copy_(theta.detach())
        found.data.images.copy_(data.images)
        found.data.labels.copy_(data.labels)
        assert isinstance(found.data.nu, Tensor)
        found.data.nu.fill_(data.nu)
        if mask is not None and found.data.feature_mask is not None:
            found.data.feature_mask.copy_(mask)
        found.forward.replay()
        return found.gradient.clone(), found if keep else None

    def derivative(self, kept: Any, toward: Tensor) -> tuple[Tensor, Tensor]:
        """See `step.Engine`."""
        slot: _Slot = kept
        if slot.backward is None:
            slot.toward = toward.clone()
            fixed = slot.toward
            slot.backward, slot.through = _captured(lambda: self.inner.derivative(slot.kept, fixed))
        assert slot.toward is not None
        assert slot.through is not None
        slot.toward.copy_(toward)
        slot.backward.replay()
        return slot.through[0].clone(), slot.through[1].clone()

    def image_derivative(self, kept: Any, toward: Tensor) -> Tensor:
        """See `step.Engine`; replays the graph of both derivatives, so that no step needs a third graph."""
        return self.derivative(kept, toward)[1]

    def _capture(self, theta: Tensor, data: StepData) -> _Slot:
        mask = None if data.feature_mask is None else data.feature_mask.clone()
        nu = torch.tensor(float(data.nu), dtype=theta.dtype, device=theta.device)
        fixed = replace(data, images=data.images.detach().clone(), labels=data.labels.clone(), feature_mask=mask, nu=nu)
        start = theta.detach().clone()
        graph, (gradient, kept) = _captured(lambda: self.inner.gradient(start, fixed, keep=True))
        return _Slot(start, fixed, graph, gradient, kept)


def _captured(call: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
    """Warm up on a side stream, then record; the result's tensors are refilled by every replay."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    return graph, result

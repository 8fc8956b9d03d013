"""The precision of experts and distillation: float32 unless a setting says otherwise.

Reproducibility on a GPU is here too (`reproducible`).

``tf32``: a GPU's convolutions and matrix products round what they multiply to ten bits (`tf32_allowed`). ``bf16``: they
take bfloat16, eight bits, with sums in float32 (`autocast`; the written-out step has its own,
`core.engines.convnet.engine`). Weights, losses, the walk back through the student's steps and evaluation stay in
float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["float32", "tf32", "bf16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Inside the block a network's convolutions and products take bfloat16 if ``precision`` is bf16."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def activation_type(precision: Precision) -> torch.dtype | None:
    """The type of a written-out step's activations, None = that of the weights."""
    return torch.bfloat16 if precision == "bf16" else None


@contextmanager
def tf32_allowed(allowed: bool) -> Iterator[None]:
    """Inside the block a GPU may use TF32, or may not, whatever torch's default is (convolutions: it may)."""
    before = _tf32()
    _set_tf32(allowed, allowed)
    try:
        yield
    finally:
        _set_tf32(*before)


@contextmanager
def reproducible() -> Iterator[None]:
    """Inside the block a GPU gives the same bytes for the same work; an operation that cannot warns (UserWarning).

    Without it cuDNN takes backward passes that add in any order. A machine without a GPU is left as it is. Sets
    CUBLAS_WORKSPACE_CONFIG for the process unless it is set: cuBLAS reads it before its first product.
    """
    if not torch.cuda.is_available():
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic  # a module with a property, which its types leave out
    before, filled = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # no memory is read here before it is written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = filled


def _tf32() -> tuple[bool, bool]:
    """Return whether convolutions and matrix products may use TF32."""
    if hasattr(torch.backends, "fp32_precision"):  # torch >= 2.9, where the older names warn
        conv, product = torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision  # type: ignore[attr-defined]
        return conv == "tf32", product == "tf32"
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def _set_tf32(conv: bool, product: bool) -> None:
    if hasattr(torch.backends, "fp32_precision"):
        torch.backends.cudnn.conv.fp32_precision = "tf32" if conv else "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "tf32" if product else "ieee"
        return
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = conv, product

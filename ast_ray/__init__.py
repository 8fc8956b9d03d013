"""ast-ray: dataset distillation by alignment with smooth, high-quality expert trajectories, on Ray.

``load(path)`` reads a distilled set. The method lives in `core`, the work in `stages`, Ray in `ray_backend`.

Shapes, everywhere: P parameters, S = ipc*K synthetic images, K classes, B batch, C,H,W image, E epochs,
N student steps, M expert epochs. Equations and sections are those of arXiv 2310.10541.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ast_ray.core.synthetic_set import SyntheticSet

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | Path) -> SyntheticSet:
    """Load a distilled set, a map-style torch dataset of (image [C, H, W], label) in model space.

    Args:
        path: a ``synthetic.safetensors`` file or the folder that holds it, or an export in any of its containers
            (Hugging Face Parquet, PNG folder, .npz, .pt).

    Raises:
        ast_ray.errors.StoreError: missing, damaged, or not a synthetic set.
    """
    from ast_ray.storage.export import load_set

    return load_set(path)

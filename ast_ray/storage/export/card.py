"""The dataset card: what a stranger needs to train on the images and get the reported accuracy.

Every value of a set is somebody's text: it is written so that Markdown and HTML show it and do nothing with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ast_ray.config.printable import printable
from ast_ray.config.titles import soft_mark, soft_notes
from ast_ray.core.synthetic_set import SyntheticSet
from ast_ray.errors import counted

# What Markdown gives a meaning within a line, address among them; <, > and & are HTML's.
_SPECIAL = re.compile(r"[\\`*_\[\]~|$@]|(?<=[A-Za-z]):(?=//)|(?<=www)\.")
_HTML = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def dataset_card(synthetic: SyntheticSet, description: Mapping[str, Any]) -> str:
    """README.md of a Hugging Face dataset: front matter, then use, training protocol, results, provenance."""
    front = {
        "pretty_name": _title(synthetic),
        "task_categories": ["image-classification"],
        "tags": ["dataset-distillation", "synthetic"],
        "size_categories": [_size(len(synthetic))],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n",
        f"# {_text(_title(synthetic))}\n",
        _what(synthetic),
        _protocol(synthetic, description),
        _results(synthetic.provenance.get("reported", ())),
        _where(synthetic),
    ]
    return "\n".join(part for part in parts if part)


def _text(value: object) -> str:
    """A value of the set as Markdown within a line: no element, link, emphasis or cell comes out of it."""
    return _SPECIAL.sub(r"\\\g<0>", _line(value)).translate(_HTML)


def _code(value: object) -> str:
    """A value of the set as Markdown's code, in which only a backtick is special."""
    return f"`{_line(value).replace('`', chr(39))}`"


def _line(value: object) -> str:
    return " ".join(printable(str(value)).split())


def _title(synthetic: SyntheticSet) -> str:
    source = " ".join(
        printable(str(synthetic.provenance.get("config", {}).get("data", {}).get("source", "images"))).split()
    )
    return f"{source}, distilled to {counted(synthetic.ipc, 'image')} per class"


def _size(count: int) -> str:
    return "n<1K" if count < 1000 else "1K<n<10K" if count < 10_000 else "10K<n<100K"


_TARGETS = """
Column `targets` holds the soft label of each image, a number per class (`dataset.targets`, [S, K]); `label` is the
class of the image.
"""


def _what(synthetic: SyntheticSet) -> str:
    shape = "x".join(str(side) for side in synthetic.images.shape[1:])
    names, classes = ", ".join(map(_text, synthetic.class_names)), len(synthetic.class_names)
    return f"""{counted(len(synthetic), "synthetic image")} of {shape} (C x H x W) in {classes} classes: {names}.

```python
import ast_ray

dataset = ast_ray.load("PATH")  # exact values in model space; dataset[0] -> (image [C, H, W], label)
```

Column `image` is for looking at: 8-bit pixels, clipped to [0, 1]. Train on `model_space` (float32, flattened C x H x W,
already normalised): clipped images lose accuracy. `ast_ray.load` does, and `dataset.to_model_space(pixels)` prepares
real test images the same way.
{_TARGETS if synthetic.targets is not None else ""}"""


def _protocol(synthetic: SyntheticSet, description: Mapping[str, Any]) -> str:
    used = synthetic.provenance.get("protocol")
    lines = [
        "## How to train\n",
        f"- learning rate: {synthetic.student_lr:.6g} (learned with the images)",
        f"- augmentation: differentiable siamese augmentation, operations {_code(synthetic.augmentation)}, "
        f"{'one draw per batch' if synthetic.siamese else 'one draw per image'}",
        f"- preprocessing: {_preprocessing(description)}",
        *_soft(synthetic),
    ]
    if used:
        lines.append(
            f"- protocol {_code(used['name'])}: SGD, momentum {_text(used['momentum'])}, "
            f"weight decay {_text(used['weight_decay'])}, batches of {_text(used['batch_size'])}, "
            f"{_text(used['passes'])} passes, learning rate x{_text(used['lr_decay_factor'])} "
            f"from pass {_text(used['lr_decay_pass'])}, accuracy after the last pass"
        )
    return "\n".join(lines) + "\n"


def _soft(synthetic: SyntheticSet) -> list[str]:
    """Return the line on soft labels: their origin, where it is known, and their use; none without them."""
    if synthetic.targets is None:
        return []
    known = synthetic.provenance.get("method") != "imported"
    if synthetic.target_loss == "mse":
        origin = "learned with the images" if known else "brought in with the images"
        use = "protocol `frepo` trains on them (half the squared distance), every other one on their largest entries"
    else:
        origin = (
            "probabilities that a trained network assigned" if known else "probabilities brought in with the images"
        )
        use = "trained on with cross-entropy, but for protocol `dc`"
    return [f"- soft labels: {origin}; {use}"]


def _preprocessing(description: Mapping[str, Any]) -> str:
    if description["preprocess"] == "zca":
        return "ZCA whitening; mean, eigenvectors and scale are in `preprocessing.safetensors`"
    mean, std = (", ".join(f"{value:.4f}" for value in description[name]) for name in ("mean", "std"))
    return f"per channel (pixel - mean) / std, mean {mean}, std {std}"


def _results(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    lines = ["## Accuracy on the real test set\n", "| network | protocol | accuracy % | n |", "|---|---|---|---|"]
    notes = soft_notes(rows)
    for row in rows:
        spread = "" if row["std"] is None else f" ± {100 * row['std']:.1f}"
        cells = (
            _text(row["network"]),
            _text(row["protocol"]) + soft_mark(row),
            f"{100 * row['mean']:.1f}{spread}",
            _text(row["n"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def _where(synthetic: SyntheticSet) -> str:
    about, config = synthetic.provenance, synthetic.provenance.get("config", {})
    lines = ["## Where it comes from\n"]
    for name in ("method", "iteration", "fingerprint", "data_id"):
        if name in about:
            lines.append(f"- {name}: {_text(about[name])}")
    if config:
        lines.append(f"- preset: {_text(config.get('preset') or 'none')}, seed {_text(config.get('seed'))}")
    lines.append("- all settings and versions: `dataset.json`")
    return "\n".join(lines) + "\n"

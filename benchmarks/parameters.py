"""Parameters of every backbone in every task, counted without allocating any.

Run: ``python benchmarks/parameters.py`` (seconds). 224 x 224 pixels, the defaults of all other keys.
"""

from __future__ import annotations

from typing import Any

import torch
from measure import show

from visual_changenet.models import build_model
from visual_changenet.models.backbones import BACKBONES

USES = ("euclidean", "learnable", "segment")


def spec(kind: str, use: str) -> dict[str, Any]:
    """Spec of one backbone for ``euclidean``, ``learnable`` (both classify) or ``segment``."""
    model: dict[str, Any] = {"backbone": {"type": kind}}
    if use == "segment":
        return {"task": "segment", "model": model}
    model["classify"] = {"difference_module": use, "eval_margin": 0.5}
    return {"task": "classify", "model": model, "dataset": {"classify": {"num_input": 1, "input_map": None}}}


def millions(module: torch.nn.Module) -> str:
    """Number of trainable values, in millions."""
    return f"{sum(parameter.numel() for parameter in module.parameters()) / 1e6:.1f}"


def main() -> None:
    """Print the table."""
    rows = []
    for kind in BACKBONES:
        with torch.device("meta"):
            networks = [build_model(spec(kind, use)) for use in USES]
        rows.append((kind, millions(networks[0].backbone.pretrained_part()), *(millions(part) for part in networks)))
    show("Parameters in millions", ("backbone", "pretrained part", *USES), rows)


if __name__ == "__main__":
    main()

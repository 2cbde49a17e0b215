"""Every documented backbone in every network: built, run forward and backward, saved, loaded, exported.

Run: ``python benchmarks/backbones.py`` (a few minutes on two cores; ``--huge`` also runs the four of 650 million
parameters, which take 10 GiB). The input is the smallest that the backbone takes, the weights are random. "same" is
the largest difference between the outputs before saving and after loading; "exported" counts the tensors of a
checkpoint in the published layout, which is then loaded strictly.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import torch
from measure import show
from torch import Tensor

from visual_changenet.actions.export_checkpoint import published_layout
from visual_changenet.checkpoints import load_weights, read_checkpoint, write_checkpoint
from visual_changenet.config.model import BackboneName
from visual_changenet.losses import build_loss
from visual_changenet.models import build_model
from visual_changenet.spec import validate

USES = ("euclidean", "learnable", "segment")


def spec_of(kind: str, use: str) -> tuple[dict[str, Any], int]:
    """A complete spec with the smallest input, and its side in pixels."""
    side = 28 if (kind, use) == ("vit_large_nvdinov2", "euclidean") else 32
    classify = {"image_width": side, "image_height": side, "num_input": 1, "input_map": None}
    module = "learnable" if use == "segment" else use
    given = {
        "task": "segment" if use == "segment" else "classify",
        "model": {
            "backbone": {"type": kind},
            "classify": {"difference_module": module, "eval_margin": 0.5},
            "decode_head": {"use_summary_token": True},
        },
        "dataset": {"classify": classify, "segment": {"img_size": side}},
        "train": {"classify": {"loss": "ce" if module == "learnable" else "contrastive"}},
    }
    return validate(given), side


def flat(output: Tensor | list[Tensor]) -> Tensor:
    """All numbers of an output."""
    return torch.cat([part.flatten() for part in output]) if isinstance(output, list) else output.flatten()


def checked(kind: str, use: str, folder: Path) -> tuple[str, ...]:
    """One row of the table; raises where anything does not hold."""
    spec, side = spec_of(kind, use)
    begin = time.perf_counter()
    network = build_model(spec)
    pair = torch.rand(2, 3, side, side), torch.rand(2, 3, side, side)
    labels = torch.zeros(2, 1, side, side, dtype=torch.uint8) if use == "segment" else torch.tensor([0, 1])
    loss = build_loss(spec)(network(*pair), labels)
    loss.backward()
    learning = sum(parameter.grad is not None for parameter in network.parameters())
    network.zero_grad(set_to_none=True)
    network.eval()
    with torch.no_grad():
        before = flat(network(*pair))
    path = folder / "model.pth"
    write_checkpoint({"state_dict": {f"model.{name}": value for name, value in network.state_dict().items()}}, path)
    exported, identity = published_layout(read_checkpoint(path, "path"), path)
    again = build_model(spec).eval()
    load_weights(again, exported, path)
    with torch.no_grad():
        same = float((flat(again(*pair)) - before).abs().max())
    seconds = f"{time.perf_counter() - begin:.1f}"
    return (
        f"{kind} {use}",
        str(side),
        str(learning),
        f"{same:.0e}",
        str(len(exported["state_dict"])),
        seconds,
        str(identity),
    )


def main() -> None:
    """Check and print."""
    parser = argparse.ArgumentParser(description="Every backbone in every network.")
    parser.add_argument("--huge", action="store_true")
    wanted = parser.parse_args()
    torch.manual_seed(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in get_args(BackboneName):
            if wanted.huge or "huge" not in kind:
                rows += [checked(kind, use, Path(folder)) for use in USES]
    show("", ("network", "side px", "tensors with gradient", "same", "exported", "s", "recognised as"), rows)


if __name__ == "__main__":
    main()

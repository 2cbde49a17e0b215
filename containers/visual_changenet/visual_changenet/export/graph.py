"""The network as a plain ONNX graph.

The tracing exporter of torch is used (``dynamo=False``): the newer one writes no opset below 18, and takes ten
times as long. Sizes of the images are fixed by the trace, only the batch may stay open. Deformable attention
becomes GridSample, an operator of ONNX since opset 16; no plugin is needed.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visual_changenet.errors import RunError, SpecError
from visual_changenet.export.target import Target
from visual_changenet.models import EuclideanClassifier, Network
from visual_changenet.runtime.card import METADATA_KEY, Card, Lights
from visual_changenet.version import VERSION

try:
    import onnx
except ImportError as missing:
    raise SpecError("E_EXPORT_LIBRARY", f"onnx can not be imported: {missing}.", "pip install onnx") from missing

__all__ = ["Exported", "make_card", "onnx", "write_graph"]

TRACED_BATCH = 2  # of a dynamic graph; not 1, whose axes could be taken for ones to broadcast
STANDARD = ""


class Exported(nn.Module):
    """The network with the signature of the graph: two inputs, and a tensor per output."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """See ``Card.output_names``."""
        out = self.network(first, second)
        return tuple(out) if isinstance(out, list) else (out,)


def make_card(
    spec: dict[str, Any], network: Network, size: tuple[int, int], spec_sha256: str, parent_run: str | None
) -> Card:
    """The card of a network from the spec that it is built from."""
    task = spec["task"]
    data = spec["dataset"][task]
    section, prefix = ("augmentation", "") if task == "segment" else ("augmentation_config", "rgb_input_")
    mean, std = (tuple(data[section][prefix + name]) for name in ("mean", "std"))
    names = ("num_input", "input_map", "concat_type", "grid_map")
    return Card(
        task=task,
        classes=data["num_classes"],
        margin=None if task == "segment" else float(spec["model"]["classify"]["eval_margin"]),
        score="distance" if isinstance(network, EuclideanClassifier) else "softmax",
        input=size,
        mean=mean,
        std=std,
        lights=None if task == "segment" else Lights(**{name: data[name] for name in names}),
        num_golden=1 if task == "segment" else data["num_golden"],
        align=data["align"],
        precision="fp32",
        spec_sha256=spec_sha256,
        parent_run=parent_run,
        package_version=VERSION,
    )


def write_graph(network: Network, card: Card, target: Target, path: Path) -> Any:
    """Write the graph with its card to ``path``, checked; returns the ``onnx.ModelProto``.

    Args:
        network: on the CPU, in evaluation mode.

    Raises:
        RunError: ``E_EXPORT_GRAPH``.
    """
    _trace(network, card, target, path)
    with path.open("ab") as stream:  # messages of this format that follow one another are one
        metadata = onnx.StringStringEntryProto(key=METADATA_KEY, value=card.to_json())
        stream.write(onnx.ModelProto(metadata_props=[metadata]).SerializeToString())
    model = onnx.load(path)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {STANDARD: target.opset}:
        raise RunError("E_EXPORT_GRAPH", f"the graph is of opsets {opsets}, not {target.opset}.", "set another opset")
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        raise RunError("E_EXPORT_GRAPH", f"the graph is not valid ONNX: {error}.", "set another opset") from error
    return model


def _trace(network: Network, card: Card, target: Target, path: Path) -> None:
    shapes = card.shapes(target.batch or TRACED_BATCH)
    named = (*card.input_names, *card.output_names)
    with warnings.catch_warnings(), torch.no_grad():
        # On the exporter's age, on sizes that become constants (they should), and on opset 21: it adds nothing to
        # the operators used here but data types, and the checker reads the graph against its schemas.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Exported(network).eval(),
            tuple(torch.zeros(shape) for shape in shapes),
            path,
            opset_version=target.opset,
            dynamo=False,
            input_names=list(card.input_names),
            output_names=list(card.output_names),
            dynamic_axes=None if target.batch else {name: {0: card.batch_axis} for name in named},
        )

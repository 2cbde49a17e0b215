"""An exported graph with 8-bit weights and activations: QuantizeLinear and DequantizeLinear around its layers.

Per-channel scales for weights, one scale per tensor for activations, both symmetric, written by ONNX Runtime's
quantizer; TensorRT reads the same form. Convolutions get such a pair behind them too; behind a matrix product it
would only lose precision. Everything else, softmax, norms, resampling, and products of two activations, stays in
float. Where the spec names no layers, so do the first convolution, the layers that give the answer, and
convolutions of single channels, which with 8 bits were slower than in float.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from visual_changenet.errors import RunError
from visual_changenet.export.graph import STANDARD, onnx
from visual_changenet.export.pairs import Pairs
from visual_changenet.quantize.folding import WEIGHTED, fold_weights
from visual_changenet.quantize.patterns import Layer
from visual_changenet.quantize.torchao_weights import is_answer
from visual_changenet.runtime import Batch, Floats
from visual_changenet.runtime.card import METADATA_KEY, Card

FORMATS = ("int8",)
FILE = "model.int8.onnx"
# max takes the largest absolute value, as minmax does where ranges are symmetric.
METHODS = {"minmax": CalibrationMethod.MinMax, "max": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy}
KINDS = {"Conv": "Conv2d", "ConvTranspose": "ConvTranspose2d", "MatMul": "Linear", "Gemm": "Linear"}
NO_PAIR_BEHIND = ["MatMul", "Gemm"]
PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}  # shapes are known; the quantizer asks for no more


def folded(path: Path) -> tuple[Any, list[Layer]]:
    """The model of an ONNX file of ours with plain weights, and its layers; the keys are names of nodes."""
    model = onnx.load(path)
    modules = fold_weights(model)
    return model, _layers(model.graph, modules)


def _layers(graph: Any, modules: Mapping[str, str]) -> list[Layer]:
    inputs, outputs = ({entry.name for entry in part} for part in (graph.input, graph.output))
    ends = [node for node in graph.node if {*node.input} & inputs or {*node.output} & outputs]
    touchy = {modules[node.name] for node in ends if node.name in modules}
    touchy |= {name for name in modules.values() if is_answer(name, list(modules.values()))}
    touchy |= {modules[node.name] for node in graph.node if node.name in modules and _per_channel(node)}
    return [
        Layer(
            key=node.name,
            names=(modules.get(node.name, node.name), node.name),
            kinds=(node.op_type, KINDS.get(node.op_type, node.op_type)),
            fits=node.name in modules,
            touchy=modules.get(node.name) in touchy,
        )
        for node in graph.node
        if node.op_type != "Constant"
    ]


def _per_channel(node: Any) -> bool:
    return any(item.name == "group" and item.i > 1 for item in node.attribute)


def write_quantized(
    model: Any,
    card: Card,
    path: Path,
    nodes: Sequence[str],
    pairs: Pairs,
    batch: Batch,
    options: Mapping[str, Any],
) -> str:
    """Calibrate and write; returns the library and its version.

    Args:
        model: from ``folded``. nodes: names of the nodes to quantize. pairs: to calibrate on, in both orders.
        batch: of the graph. options: the section ``quantize``, checked.

    Raises:
        RunError: ``E_QUANTIZE_GRAPH`` where the result is no plain graph.
    """
    onnx.helper.set_model_props(model, PREPARED)
    reader = BothOrders(pairs, card.input_names, batch.maximum or 1)
    method = METHODS[options["algorithm"]]
    own = dict(options["backend_kwargs"] or {})
    activation = QuantType[own.pop("activation_type", "QInt8")]
    extra: dict[str, Any] = {
        "ActivationSymmetric": activation is QuantType.QInt8,
        "WeightSymmetric": True,
        "OpTypesToExcludeOutputQuantization": NO_PAIR_BEHIND,
        **own,
    }
    if method is CalibrationMethod.Entropy:
        extra["CalibStridedMinMax"] = 1  # histograms of one batch at a time: all tensors of all pairs are too many
    with TemporaryDirectory(prefix="quantize-") as scratch:
        source = Path(scratch) / "folded.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            Path(scratch) / FILE,
            reader,
            QuantFormat.QDQ,
            op_types_to_quantize=list(WEIGHTED),
            per_channel=True,
            activation_type=activation,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=list(nodes),
            calibrate_method=method,
            extra_options=extra,
        )
        finish(onnx.load(Path(scratch) / FILE), card, path)
    return f"onnxruntime {version('onnxruntime')}"


def finish(model: Any, card: Card, path: Path) -> None:
    """Put the card into a quantized model, check it and write it to ``path``.

    Raises:
        RunError: ``E_QUANTIZE_GRAPH``.
    """
    named = replace(card, precision="int8")
    onnx.helper.set_model_props(model, {METADATA_KEY: named.to_json()})
    used = {node.domain for node in model.graph.node}
    if used != {STANDARD}:
        raise RunError(
            "E_QUANTIZE_GRAPH", f"the graph has operators of {sorted(used - {STANDARD})}.", "remove backend_kwargs"
        )
    opsets = [entry for entry in model.opset_import if entry.domain == STANDARD]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    onnx.save(model, path)
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        raise RunError("E_QUANTIZE_GRAPH", f"the graph is not valid ONNX: {error}.", "remove backend_kwargs") from error


class BothOrders(CalibrationDataReader):  # type: ignore[misc]
    """Every pair as it is and the other way round.

    Both images go through the same layers; what each layer sees of one image and of the other must give the same
    range, else equal images would become different numbers.
    """

    def __init__(self, pairs: Pairs, names: tuple[str, str], batch: int) -> None:
        feeds = [
            feed
            for at in range(0, len(pairs), batch)
            for feed in _orders(pairs.first[at : at + batch], pairs.second[at : at + batch])
        ]
        self._feeds = [dict(zip(names, (_filled(side, batch) for side in feed), strict=True)) for feed in feeds]
        self._left = iter(self._feeds)

    def __len__(self) -> int:
        return len(self._feeds)

    def get_next(self) -> dict[str, Floats] | None:
        """The next batch by input name; None after the last."""
        return next(self._left, None)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Start again with a part of the batches."""
        self._left = iter(self._feeds[start_index:end_index])


def _orders(first: Floats, second: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    if second.ndim == first.ndim:
        return (first, second), (second, first)
    goldens = np.repeat(first[:, None], second.shape[1], axis=1)
    return (first, second), (np.ascontiguousarray(second[:, 0]), goldens)


def _filled(side: Floats, batch: int) -> Floats:
    """A last incomplete batch, filled up with its last pair."""
    missing = batch - len(side)
    return np.concatenate([side, np.repeat(side[-1:], missing, axis=0)]) if missing else side

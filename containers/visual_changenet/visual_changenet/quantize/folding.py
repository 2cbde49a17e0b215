"""Weights of an exported graph as plain initializers.

The tracing exporter leaves the transposition or the cut of a weight to the runtime, as nodes of the graph, and does
so once for each of the two images. A quantizer looks for initializers, and should find one for both images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visual_changenet.export.graph import onnx

WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "MatMul": 1, "Gemm": 1}  # the input that is the weight
REARRANGING = ("Flatten", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Split")
ROOT = "network."  # what the exporter calls the network

Array = NDArray[Any]


def fold_weights(model: Any) -> dict[str, str]:
    """Rearrange weights here, once for equal computations; the graph gives the same numbers.

    Args:
        model: an ``onnx.ModelProto`` of our export, changed in place.

    Returns:
        The module of each node whose weight is an initializer now: node name -> name in the network, such as
        ``backbone.blocks.0.attn.q``.
    """
    folder = _Folder(model.graph)
    kept = [node for node in model.graph.node if not folder.folded(node)]
    modules = {}
    for node in kept:
        weight = WEIGHTED.get(node.op_type)
        if weight is not None and node.input[weight] in folder.origin:
            modules[node.name] = folder.origin[node.input[weight]].removeprefix(ROOT).rpartition(".")[0]
        for place, name in enumerate(node.input):
            node.input[place] = folder.renamed.get(name, name)
    used = {name for node in kept for name in node.input}
    del model.graph.node[:]
    model.graph.node.extend(node for node in kept if node.op_type != "Constant" or node.output[0] in used)
    folder.store(model.graph)
    return modules


class _Folder:
    """Constant tensors by name while the nodes are walked in their order.

    Attributes:
        weights: initializers and what was made from them. origin: the parameter that each was made from.
        renamed: outputs of folded nodes -> the tensor that stands for them.
    """

    def __init__(self, graph: Any) -> None:
        self.weights: dict[str, Array] = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
        self.origin = {name: name for name in self.weights}
        self.renamed: dict[str, str] = {}
        self._constants: dict[str, Array] = {}
        self._made: dict[bytes, list[str]] = {}

    def folded(self, node: Any) -> bool:
        """Whether a node was computed here; such a node is no longer needed."""
        if node.op_type == "Constant":
            value = next((item.t for item in node.attribute if item.name == "value"), None)
            if value is not None:
                self._constants[node.output[0]] = onnx.numpy_helper.to_array(value)
            return False
        first = self.renamed.get(node.input[0], node.input[0]) if node.input else ""
        if first not in self.weights:
            return False
        if node.op_type == "Identity":  # equal parameters are stored once; the output has the name of its own
            self.renamed[node.output[0]], self.origin[node.output[0]] = first, node.output[0]
            return True
        if node.op_type not in REARRANGING or any(name not in self._constants for name in node.input[1:]):
            return False
        for output, name in zip(node.output, self._rearranged(node, first), strict=True):
            self.renamed[output], self.origin[output] = name, self.origin[node.input[0]]
        return True

    def _rearranged(self, node: Any, source: str) -> list[str]:
        """Names of the outputs' tensors; those of the first such node where there was one."""
        others = [self._constants[name] for name in node.input[1:]]
        key = onnx.NodeProto(op_type=node.op_type, attribute=node.attribute, input=[source]).SerializeToString()
        key += b"".join(value.tobytes() for value in others)
        if key not in self._made:
            from onnx.reference import ReferenceEvaluator

            feed = dict(zip(node.input, [self.weights[source], *others], strict=True))
            values = [np.asarray(value) for value in ReferenceEvaluator(node).run(None, feed)]
            if node.op_type != "Transpose" and values[0].shape == self.weights[source].shape:
                self._made[key] = [source]  # nothing moves
                return [source]
            self._made[key] = names = [f"{source}.{len(self._made)}.{place}" for place in range(len(values))]
            self.weights |= {name: np.ascontiguousarray(value) for name, value in zip(names, values, strict=True)}
        return self._made[key]

    def store(self, graph: Any) -> None:
        """Write the tensors that the nodes still read as the graph's initializers."""
        used = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
        del graph.initializer[:]
        graph.initializer.extend(
            onnx.numpy_helper.from_array(value, name) for name, value in self.weights.items() if name in used
        )

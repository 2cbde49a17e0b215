"""Number formats written into the graph: TensorRT 11 takes each tensor's type from there, and has no switch for it.

Formats are shared out as torch's autocast does it: products (convolutions, matrices) in the low format, sums over
many values and functions that lose digits in fp32, and what lies between them in the wider format of its inputs.
Inputs and outputs of the model stay fp32.
"""

from __future__ import annotations

import difflib
from collections import ChainMap
from fnmatch import fnmatchcase
from typing import Any

from visual_changenet.errors import SpecError

try:
    import onnx
    from onnx import TensorProto, helper, version_converter
except ImportError as missing:
    raise SpecError("E_ENGINE_LIBRARY", f"onnx can not be imported: {missing}.", "pip install onnx") from missing

WIDE: int = TensorProto.FLOAT
FORMATS: dict[str, int] = {"fp32": WIDE, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
BF16_OPSET = 22  # the first whose convolutions take it
PRODUCTS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
BETWEEN = frozenset(
    (
        "Add",
        "Clip",
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Gelu",
        "Identity",
        "LeakyRelu",
        "MaxPool",
        "Mul",
        "Neg",
        "Pad",
        "Relu",
        "Reshape",
        "Sigmoid",
        "Slice",
        "Split",
        "Squeeze",
        "Sub",
        "Tanh",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    )
)
KEY = "gen_trt_engine.tensorrt.layers_precision"


def parse_overrides(texts: list[str]) -> list[tuple[str, int]]:
    """``name:format`` texts; the name may hold ``*`` and ``?``, the format is fp32, fp16 or bf16.

    Raises:
        SpecError: ``E_ENGINE_LAYERS``.
    """
    found = []
    for text in texts:
        pattern, _, name = text.rpartition(":")
        if not pattern or name.lower() not in FORMATS:
            raise SpecError(
                "E_ENGINE_LAYERS",
                f"{KEY} holds {text!r}, which is not of the form layer:format.",
                f"write e.g. '*/norm/*:fp32'; formats are {', '.join(FORMATS)}",
            )
        found.append((pattern, FORMATS[name.lower()]))
    return found


def with_formats(data: bytes, precision: str, overrides: list[tuple[str, int]]) -> bytes:
    """The model with Cast nodes so that it computes in ``precision``.

    Args:
        data: a serialised ONNX model in fp32 without subgraphs.
        precision: a key of ``FORMATS``.
        overrides: formats of single nodes by the pattern of their name; later ones count more.

    Raises:
        SpecError: ``E_ENGINE_LAYERS`` where a pattern matches no node.
    """
    low = FORMATS[precision]
    if low == WIDE and not overrides:
        return data
    model = onnx.load_from_string(data)
    kinds = {low, *(kind for _, kind in overrides)}
    if FORMATS["bf16"] in kinds and model.opset_import[0].version < BF16_OPSET:
        model = version_converter.convert_version(model, BF16_OPSET)
    chosen = _chosen([node.name for node in model.graph.node], overrides)
    casts = _Casts(model, low)
    nodes = [made for node in model.graph.node for made in casts.typed(node, chosen.get(node.name))]
    del model.graph.node[:]
    del model.graph.value_info[:]  # they say what the types were
    model.graph.node.extend([*nodes, *casts.outputs()])
    written: bytes = model.SerializeToString()
    return written


def _chosen(names: list[str], overrides: list[tuple[str, int]]) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for pattern, kind in overrides:
        matching = [name for name in names if fnmatchcase(name, pattern)]
        if not matching:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3)
            raise SpecError("E_ENGINE_LAYERS", f"{KEY}: no layer matches {pattern!r}.", f"near: {', '.join(near)}")
        chosen |= dict.fromkeys(matching, kind)
    return chosen


class _Casts:
    """Types of all tensors while nodes are gone through in order, and the casts made so far."""

    def __init__(self, model: Any, low: int) -> None:
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.graph, self.low = model.graph, low
        infos = (*inferred.input, *inferred.value_info, *inferred.output)
        was = {info.name: info.type.tensor_type.elem_type for info in infos}
        self.constants = {entry.name: entry.data_type for entry in model.graph.initializer}
        self.floats = {name for name, kind in ChainMap(was, self.constants).items() if kind == WIDE}
        self.floats |= {name for node in model.graph.node if _float_constant(node) for name in node.output}
        self.fixed = {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
        self.fixed |= self.constants.keys()
        self.types: dict[str, int] = {}
        self.made: dict[tuple[str, int], str] = {}
        self.results = {info.name for info in model.graph.output}
        self.renamed: dict[str, str] = {}

    def typed(self, node: Any, forced: int | None) -> list[Any]:
        """The node with inputs of one type, after the casts that it needs."""
        inputs = [name for name in node.input if name in self.floats]
        outputs = [name for name in node.output if name in self.floats]
        if node.op_type in ("Constant", "Cast") or not inputs:
            self._record(node, outputs, WIDE)
            return [node]
        kind = forced or self._kind(node, inputs)
        before = []
        for place, name in enumerate(node.input):
            stays = name not in self.floats or (node.op_type == "Resize" and place > 0)
            source = self.renamed.get(name, name)
            if not stays and self.types.get(name, WIDE) != kind:
                before += self._cast(name, source, kind)
                source = self.made[name, kind]
            node.input[place] = source
        self._record(node, outputs, kind)
        return [*before, node]

    def _kind(self, node: Any, inputs: list[str]) -> int:
        if node.op_type in PRODUCTS:
            return self.low
        moving = [self.types.get(name, WIDE) for name in inputs if name not in self.fixed]
        alike = len(set(moving)) == 1
        return moving[0] if node.op_type in BETWEEN and alike else WIDE

    def _cast(self, name: str, source: str, kind: int) -> list[Any]:
        if (name, kind) in self.made:
            return []
        self.made[name, kind] = f"{name}_as_{TensorProto.DataType.Name(kind).lower()}"
        return [helper.make_node("Cast", [source], [self.made[name, kind]], f"{self.made[name, kind]}_cast", to=kind)]

    def _record(self, node: Any, outputs: list[str], kind: int) -> None:
        """Note the types of outputs; an output of the model that is not fp32 is cast at the end under its name."""
        self.types |= dict.fromkeys(outputs, kind)
        for place, name in enumerate(node.output):
            if name in self.results and kind != WIDE and name in self.floats:
                self.renamed[name] = node.output[place] = f"{name}_narrow"

    def outputs(self) -> list[Any]:
        """Casts of the model's outputs back to fp32."""
        return [
            helper.make_node("Cast", [inner], [name], f"{name}_cast", to=WIDE) for name, inner in self.renamed.items()
        ]


def _float_constant(node: Any) -> bool:
    return node.op_type == "Constant" and any(
        item.name == "value" and item.t.data_type == WIDE for item in node.attribute
    )

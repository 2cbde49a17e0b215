"""Quantization by nvidia-modelopt, where it is installed.

Written against its documentation. It is not installed where this package is tested, so nothing of this module has
been run there; what it writes has to pass the same measurement as any other quantized model.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from visual_changenet.errors import SpecError
from visual_changenet.export.graph import Exported, onnx, write_graph
from visual_changenet.export.pairs import Pairs
from visual_changenet.export.target import Target
from visual_changenet.models import Network
from visual_changenet.quantize.qdq import finish
from visual_changenet.runtime.card import Card

INT4_METHODS = ("awq_clip", "awq_lite", "awq_full", "rtn_dq")
NAMES = {"minmax": "max"}  # of symmetric ranges


def quantize_graph(
    source: Path, card: Card, path: Path, left: Sequence[str], pairs: Pairs, options: Mapping[str, Any]
) -> str:
    """Backend ``modelopt.onnx``: an ONNX file to one with Q/DQ; returns the library and its version.

    Args:
        left: names of nodes that stay in float. options: the section ``quantize``.

    Raises:
        SpecError: ``E_QUANTIZE_LIBRARY``. RunError: ``E_QUANTIZE_GRAPH``.
    """
    algorithm = options["algorithm"]
    _module("modelopt.onnx.quantization").quantize(
        str(source),
        quantize_mode="int4" if algorithm in INT4_METHODS else "int8",
        calibration_data=dict(zip(card.input_names, (pairs.first, pairs.second), strict=True)),
        calibration_method=NAMES.get(algorithm, algorithm),
        calibration_eps=["trt" if options["device"] == "trt" else "cuda:0", "cpu"],
        nodes_to_exclude=[f"^{re.escape(name)}$" for name in left],
        high_precision_dtype="fp32",
        output_path=str(path),
        **(options["backend_kwargs"] or {}),
    )
    finish(onnx.load(path), card, path)
    return _library()


def quantize_network(
    network: Network, card: Card, target: Target, modules: Collection[str], pairs: Pairs, options: Mapping[str, Any]
) -> str:
    """Backend ``modelopt.pytorch``: a network, then exported with Q/DQ; returns the library and its version.

    Args:
        modules: names of the modules to quantize. options: the section ``quantize``.

    Raises:
        SpecError: ``E_QUANTIZE_LIBRARY``, ``E_QUANTIZE_ALGORITHM``. RunError: ``E_QUANTIZE_GRAPH``.
    """
    if options["algorithm"] not in ("minmax", "max"):
        raise SpecError(
            "E_QUANTIZE_ALGORITHM",
            f"quantize.algorithm is {options['algorithm']}, but modelopt.pytorch has minmax and max.",
            "set quantize.algorithm=minmax, or quantize.backend=modelopt.onnx",
        )
    library = _module("modelopt.torch.quantization")

    def calibrate(model: torch.nn.Module) -> None:
        with torch.inference_mode():
            for first, second in zip(pairs.first, pairs.second, strict=True):
                Exported(model)(torch.from_numpy(first[None]), torch.from_numpy(second[None]))  # type: ignore[arg-type]

    quantized = library.quantize(copy.deepcopy(network).cpu(), library.INT8_DEFAULT_CFG, calibrate)
    library.disable_quantizer(quantized, lambda name: name.rpartition(".")[0] not in modules)
    write_graph(quantized, card, target, target.path)
    finish(onnx.load(target.path), card, target.path)
    return _library()


def _library() -> str:
    return f"modelopt {version('nvidia-modelopt')}"


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as missing:
        raise SpecError(
            "E_QUANTIZE_LIBRARY", f"{name} can not be imported: {missing}.", "pip install 'nvidia-modelopt[all]'"
        ) from missing

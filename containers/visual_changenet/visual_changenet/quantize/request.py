"""What a quantization is asked for, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from visual_changenet.errors import SpecError

TORCHAO, MODELOPT_ONNX = "torchao", "modelopt.onnx"
RANGES = ("minmax", "max")  # of weights: the largest absolute value of a row
# Of ONNX Runtime's arguments those that change how good or how fast the numbers are. QUInt8 activations are up to
# twice as fast on x86 CPUs; TensorRT reads QInt8 only.
ACTIVATIONS = ("QInt8", "QUInt8")
RUNTIME_OPTIONS = (
    "activation_type",
    "CalibMovingAverage",
    "CalibMovingAverageConstant",
    "MinimumRealRange",
    "DedicatedQDQPair",
)
RUNTIME_ALGORITHMS = ("minmax", "max", "entropy")


def has_modelopt() -> bool:
    """Whether nvidia-modelopt is installed."""
    return find_spec("modelopt") is not None


def check_request(options: Mapping[str, Any]) -> None:
    """Refuse what no backend here can do.

    Args:
        options: the section ``quantize``.

    Raises:
        SpecError: ``E_QUANTIZE_MODE``, ``E_QUANTIZE_ALGORITHM``, ``E_QUANTIZE_SOURCE``, ``E_QUANTIZE_KWARGS`` or
            ``E_QUANTIZE_LIBRARY``.
    """
    backend = options["backend"]
    _check_mode(backend, options["mode"])
    if backend != MODELOPT_ONNX and is_onnx(options):
        raise SpecError(
            "E_QUANTIZE_SOURCE",
            f"quantize.model_path is {options['model_path']}, but {backend} quantizes checkpoints.",
            "name the .pth file, or set quantize.backend=modelopt.onnx and quantize.mode=static_ptq",
        )
    if backend == TORCHAO:
        _check_choice(backend, options, RANGES, ())
    elif not has_modelopt():
        if backend != MODELOPT_ONNX:
            raise SpecError(
                "E_QUANTIZE_LIBRARY",
                f"quantize.backend is {backend}, but modelopt is not installed.",
                "pip install nvidia-modelopt, or set quantize.backend=modelopt.onnx: ONNX Runtime quantizes then",
            )
        _check_choice(backend, options, RUNTIME_ALGORITHMS, RUNTIME_OPTIONS)


def is_onnx(options: Mapping[str, Any]) -> bool:
    """Whether the model is an ONNX file."""
    return Path(options["model_path"] or "").suffix.lower() == ".onnx"


def _check_mode(backend: str, mode: str) -> None:
    wanted = "weight_only_ptq" if backend == TORCHAO else "static_ptq"
    if mode == wanted:
        return
    other = f"set quantize.mode={wanted}"
    if backend == TORCHAO:
        other += ", or quantize.backend=modelopt.onnx to calibrate activations"
    what = "quantizes weights only" if backend == TORCHAO else "quantizes weights and calibrated activations"
    raise SpecError("E_QUANTIZE_MODE", f"quantize.mode is {mode}, but backend {backend} {what}.", other)


def _check_choice(
    backend: str, options: Mapping[str, Any], algorithms: tuple[str, ...], names: tuple[str, ...]
) -> None:
    library = "torchao" if backend == TORCHAO else "ONNX Runtime, which quantizes where modelopt is not installed,"
    if options["algorithm"] not in algorithms:
        raise SpecError(
            "E_QUANTIZE_ALGORITHM",
            f"quantize.algorithm is {options['algorithm']}, but {library} has {', '.join(algorithms)}.",
            f"set quantize.algorithm={algorithms[0]}, or pip install nvidia-modelopt and take backend {MODELOPT_ONNX}",
        )
    given = options["backend_kwargs"] or {}
    if given.get("activation_type", ACTIVATIONS[0]) not in ACTIVATIONS:
        raise SpecError(
            "E_QUANTIZE_KWARGS",
            f"quantize.backend_kwargs.activation_type is {given['activation_type']!r}.",
            f"set it to {ACTIVATIONS[0]} (for TensorRT) or {ACTIVATIONS[1]} (for CPUs)",
        )
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise SpecError(
            "E_QUANTIZE_KWARGS",
            f"quantize.backend_kwargs has {unknown[0]!r}, but {library} takes {', '.join(names) or 'none'}.",
            "remove it",
        )

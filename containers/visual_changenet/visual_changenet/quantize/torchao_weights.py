"""Weights of linear layers in 8 bits, by torchao.

Only the stored weights are smaller: they are turned back into float32 when a checkpoint is opened, so a network
computes as fast, and in as much memory, as before. Convolutions stay as they are: torchao has no small format for
their weights.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from visual_changenet.checkpoints import PREFIX
from visual_changenet.errors import SpecError
from visual_changenet.quantize.patterns import Layer
from visual_changenet.quantize.stored import stored

FORMATS = ("int8", "fp8_e4m3fn", "fp8_e5m2")
FILE = "quantized_model_torchao.pth"


def layers_of(network: nn.Module) -> list[Layer]:
    """All modules of a network; linear layers can be quantized, the one that gives the answer is touchy."""
    named = [(name, module) for name, module in network.named_modules() if name]
    linear = [name for name, module in named if isinstance(module, nn.Linear)]
    return [
        Layer(name, (name,), _kinds(module), name in linear, touchy=is_answer(name, linear)) for name, module in named
    ]


def is_answer(name: str, others: list[str]) -> bool:
    """Whether a layer is the last of a head (``decoder.classifier``, ``fc1``): few numbers, and every score."""
    parent, _, number = name.rpartition(".")
    if parent not in ("decoder.classifier", "fc1") or not number.isdigit():
        return False
    last = max(int(found) for other in others if (found := other.removeprefix(f"{parent}.")).isdigit())
    return int(number) == last


def _kinds(module: nn.Module) -> tuple[str, ...]:
    classes = type(module).__mro__
    return tuple(kind.__name__ for kind in classes[: classes.index(nn.Module)])


def quantized_state(network: nn.Module, formats: Mapping[str, str]) -> dict[str, Tensor]:
    """The state of a network for a checkpoint, with the named linear layers' weights quantized per row.

    Args:
        network: on the CPU; its layers are changed in place and can not be used any more.
        formats: one of ``FORMATS`` by module name.

    Raises:
        SpecError: ``E_QUANTIZE_LIBRARY`` where torchao is not installed.
    """
    with _quiet():
        try:
            library = import_module("torchao.quantization")
        except ImportError as missing:
            raise SpecError(
                "E_QUANTIZE_LIBRARY", f"torchao can not be imported: {missing}.", "pip install torchao"
            ) from missing
        configs: dict[str, Any] = {
            "int8": library.Int8WeightOnlyConfig(set_inductor_config=False),
            "fp8_e4m3fn": library.Float8WeightOnlyConfig(torch.float8_e4m3fn, set_inductor_config=False),
            "fp8_e5m2": library.Float8WeightOnlyConfig(torch.float8_e5m2, set_inductor_config=False),
        }
        for dtype in sorted(set(formats.values())):
            wanted = {name for name, found in formats.items() if found == dtype}
            library.quantize_(network, configs[dtype], filter_fn=lambda module, name, wanted=wanted: name in wanted)
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        small = hasattr(tensor, "qdata")
        state |= stored(PREFIX + name, tensor.qdata, tensor.scale) if small else {PREFIX + name: tensor.contiguous()}
    return state


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torchao tells of kernels for other machines that it could not load; they are not needed here."""
    names = ("", "torchao", "torch.utils._pytree")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)

"""Quantized weights as plain tensors of a checkpoint.

In place of ``X.weight`` a state dict has ``X.weight_qdata`` (numbers of 8 bits, with the shape of the weight) and
``X.weight_scale`` (float32, one per row). A reader that does not know them finds ``X.weight`` missing, instead of
taking the small numbers for the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NUMBERS, SCALE = "_qdata", "_scale"


def stored(name: str, numbers: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """The entries of one weight (R, C) with scales (R, 1)."""
    return {name + NUMBERS: numbers.contiguous(), name + SCALE: scale.float().contiguous()}


def is_quantized(content: dict[str, Any]) -> bool:
    """Whether a checkpoint's weights are stored this way."""
    return any(str(name).endswith(NUMBERS) for name in content["state_dict"])


def dequantized(content: dict[str, Any]) -> dict[str, Any]:
    """The same checkpoint with float32 weights: numbers times scales. One without such weights is returned as it is."""
    if not is_quantized(content):
        return content
    state: dict[str, Tensor] = {}
    for name, tensor in content["state_dict"].items():
        if name.endswith(NUMBERS):
            weight = name.removesuffix(NUMBERS)
            state[weight] = tensor.to(torch.float32) * content["state_dict"][weight + SCALE]
        elif not (name.endswith(SCALE) and name.removesuffix(SCALE) + NUMBERS in content["state_dict"]):
            state[name] = tensor
    return content | {"state_dict": state}

"""Tensors that follow from a size, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch

Made = TypeVar("Made")

LIMIT = 8


def tracing() -> bool:
    """Whether a graph is being made, for compilation or for export."""
    return torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()


class SizeCache(Generic[Made]):
    """Results of a function by key; the key names all that the result depends on, its device included.

    Nothing is kept while a graph is traced: the tensors of a trace must not outlive it. At most ``LIMIT`` results
    are kept, the oldest goes first.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, Made] = {}

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The kept result of ``key``, or that of ``make``, which runs without gradients."""
        if tracing():
            return make()
        if key not in self._kept:
            if len(self._kept) >= LIMIT:
                self._kept.pop(next(iter(self._kept)))
            with torch.inference_mode(False), torch.no_grad():  # what is kept may be used in training later
                self._kept[key] = make()
        return self._kept[key]

"""What the networks and the training know of a backbone, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class Backbone(nn.Module, ABC):
    """Base of all backbones: pretrained weights, freezing, and less memory in training."""

    recompute = False

    @abstractmethod
    def pretrained_part(self) -> nn.Module:
        """The module that published weights are loaded into; its names are the published ones."""

    def freeze(self) -> list[nn.Module]:
        """Take the pretrained part out of training; returns the modules to keep in evaluation mode."""
        part = self.pretrained_part()
        part.requires_grad_(False)
        return [part]

    def checkpointing(self, enabled: bool) -> None:
        """Whether the inner values of blocks are computed again in the backward pass in place of being kept."""
        self.recompute = enabled

    def run(self, block: nn.Module, *inputs: Any) -> Any:
        """``block(*inputs)``, with its inner values recomputed in the backward pass where that was asked for."""
        if not self.recompute or not torch.is_grad_enabled():
            return block(*inputs)
        return checkpoint(block, *inputs, use_reentrant=False, context_fn=lambda: _contexts(block))


class PyramidBackbone(Backbone):
    """Four feature maps of an image.

    Attributes:
        channels, strides: of the four maps, fine to coarse; strides in pixels.
    """

    channels: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]

    @abstractmethod
    def forward(self, x: Tensor, levels: int = 4) -> list[Tensor]:
        """(B, 3, H, W) -> the ``levels`` coarsest maps (B, C, H/s, W/s), fine to coarse."""


class EmbeddingBackbone(Backbone):
    """One vector per image.

    Attributes:
        features: its length.
    """

    features: int

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, features)."""


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_untouched(block)


@contextmanager
def _statistics_untouched(block: nn.Module) -> Iterator[None]:
    """Batch norms normalise as usual but do not count the batch: the first pass has counted it."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum, norm.num_batches_tracked = momentum, counted

"""Small layers shared by the backbones and the decoders."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.cache import tracing

ChannelNormForm = Literal["unbiased", "ordinary"]


class ChannelNorm(nn.Module):
    """Layer norm over the last (channel) axis of an NHWC tensor.

    ``unbiased`` divides the squared deviations by C - 1, which is what published CPU results were made with;
    ``ordinary`` divides by C. Both run as one fused layer norm, because
    ``(x-m)/sqrt(v*C/(C-1)+eps) == sqrt((C-1)/C) * (x-m)/sqrt(v + eps*(C-1)/C)``.
    """

    def __init__(self, channels: int, eps: float = 1e-6, form: ChannelNormForm = "unbiased") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.channels = channels
        ratio = (channels - 1) / channels if form == "unbiased" else 1.0
        self.eps = eps * ratio
        self.scale = math.sqrt(ratio)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        weight = self.weight if self.scale == 1.0 else self.weight * self.scale
        return F.layer_norm(x, (self.channels,), weight, self.bias, self.eps)


class DropPath(nn.Module):
    """Stochastic depth: a branch is dropped for whole samples with the given probability, training only."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...); kept samples are scaled by 1 / (1 - probability)."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        mask = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(keep).div_(keep)
        return x * mask


def dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer over the last axis of (B, N, Cin) or (B, H, W, Cin); ``weight`` has Cout x Cin elements.

    On the CPU it runs as a 1x1 convolution: oneDNN's is up to 2.5 times as fast as the matrix product in
    float32 and never slower. Elsewhere, and for export, it is an ordinary linear layer.
    """
    if x.device.type != "cpu" or tracing():
        return F.linear(x, weight.flatten(1), bias)
    as_map = x.unsqueeze(2) if x.dim() == 3 else x
    out = to_nhwc(F.conv2d(to_nchw(as_map), weight.view(*weight.shape[:2], 1, 1), bias))
    return out.squeeze(2) if x.dim() == 3 else out


class Dense(nn.Linear):
    """``nn.Linear`` computed by ``dense``."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, Cin) or (B, H, W, Cin) -> the same with Cout."""
        return dense(x, self.weight, self.bias)


class LayerScale(nn.Module):
    """One learnt factor per channel of the last axis."""

    def __init__(self, width: int, first: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), first))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return x * self.gamma


def init_linear(module: nn.Module) -> None:
    """A linear layer: normal with deviation 0.02, cut at 2, bias 0; other modules are left as they are."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Softmax attention: (B, heads, N, hd), (B, heads, S, hd) twice -> (B, heads, N, hd); scale is hd^-0.5.

    The CPU's fused kernel is slower than two products for short sequences, and in bfloat16 for all of them.
    """
    low = v.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
    if q.device.type == "cpu" and (low or q.shape[2] <= 64):
        weights = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
        mixed: Tensor = weights.softmax(dim=-1).to(v.dtype) @ v
        return mixed
    return F.scaled_dot_product_attention(q, k, v, scale=scale)


def pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution applied to an NHWC tensor: (B, H, W, Cin) -> (B, H, W, Cout)."""
    return dense(x, conv.weight, conv.bias)


def to_nhwc(x: Tensor) -> Tensor:
    """NCHW view -> NHWC view (free of charge where the memory is channels-last)."""
    return x.permute(0, 2, 3, 1)


def to_nchw(x: Tensor) -> Tensor:
    """NHWC view -> NCHW view."""
    return x.permute(0, 3, 1, 2)


def resize_map(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resize without aligned corners and without antialiasing; returns ``x`` where the size fits."""
    if x.shape[-2:] == (height, width):
        return x
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)

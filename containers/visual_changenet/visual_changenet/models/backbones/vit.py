"""The block that all vision transformers here are made of (Dosovitskiy et al., 2021).

Its layers are ordinary linear layers: at these widths ``Dense`` is 2 % slower in float32 and 10 % in bfloat16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.config.geometry import TRANSFORMER_STRIDES
from visual_changenet.models.layers import DropPath, LayerScale, attention

NORM_EPS = 1e-6


@dataclass(frozen=True)
class VitShape:
    """What every vision transformer is described by."""

    width: int
    depth: int
    heads: int

    @property
    def prefix(self) -> int:
        """Tokens in front of the patch tokens."""
        return 1

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the four maps, fine to coarse."""
        return (self.width,) * 4

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """Strides of the four maps in pixels."""
        return TRANSFORMER_STRIDES


class SelfAttention(nn.Module):
    """Softmax self-attention from one packed projection, laid out [3][heads][head_dim]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), or the ``first`` tokens only: (B, first, D)."""
        batch, count, width = x.shape
        if first is None:
            packed = self.qkv(x).view(batch, count, 3, self.heads, -1)
            q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            q = F.linear(x[:, :first], weight[:width], bias[:width]).view(batch, first, self.heads, -1).transpose(1, 2)
            packed = F.linear(x, weight[width:], bias[width:]).view(batch, count, 2, self.heads, -1)
            k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = attention(q, k, v).transpose(1, 2)
        out: Tensor = self.proj(mixed.reshape(batch, mixed.shape[1], width))
        return out


class Mlp(nn.Module):
    """Two linear layers with an exact GELU, and in some families a layer norm, between them."""

    def __init__(self, width: int, *, norm: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.norm = nn.LayerNorm(4 * width, eps=1e-5) if norm else nn.Identity()
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        out: Tensor = self.fc2(self.norm(F.gelu(self.fc1(x))))
        return out


class SwiGlu(nn.Module):
    """``fc2(silu(a) * b)`` where a and b are the halves of ``fc1(x)`` (Shazeer, 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        hidden = self.fc2.in_features
        gate, value = torch.split(self.fc1(x), [hidden, hidden], dim=-1)
        out: Tensor = self.fc2(F.silu(gate) * value)
        return out


class VitBlock(nn.Module):
    """Attention and MLP, each with norm, optional layer scale, stochastic depth and residual.

    Args:
        mlp: the second half, (B, T, D) -> (B, T, D).
        layer_scale: first value of the layer scales; None for none.
        drop_path: probability of stochastic depth.
    """

    def __init__(
        self, shape: VitShape, mlp: nn.Module, *, layer_scale: float | None = None, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        width = shape.width
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = SelfAttention(width, shape.heads)
        self.ls1 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = mlp
        self.ls2 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D), or the ``first`` tokens only: (B, first, D)."""
        kept = x if first is None else x[:, :first]
        kept = kept + self.drop_path(self.ls1(self.attn(self.norm1(x), first)))
        out: Tensor = kept + self.drop_path(self.ls2(self.mlp(self.norm2(kept))))
        return out


def patch_tokens(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """One linear map per square patch: (B, 3, H, W) -> (B, D, H/p, W/p); ``weight`` is (D, 3, p, p)."""
    return F.conv2d(x, weight, bias, stride=weight.shape[-1])

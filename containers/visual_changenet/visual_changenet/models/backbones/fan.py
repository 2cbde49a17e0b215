"""The FAN hybrid family: a ConvNeXt stem, then blocks that mix tokens by attention and channels by a gate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from visual_changenet.config.geometry import FAN_STRIDES
from visual_changenet.models.backbones.base import Backbone, EmbeddingBackbone, PyramidBackbone
from visual_changenet.models.backbones.convnext import ConvNextStem
from visual_changenet.models.cache import SizeCache
from visual_changenet.models.layers import ChannelNormForm, Dense, DropPath, attention, dense, init_linear

DROP_PATH = 0.3
SINE_CHANNELS = 32


@dataclass(frozen=True)
class FanShape:
    """What tells one family member from another."""

    width: int
    blocks: int
    heads: int
    third_map_after: int
    stem_depths: tuple[int, int] = (3, 3)

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the four maps, fine to coarse."""
        return (128, 256, self.width, self.width)

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """Strides of the four maps in pixels."""
        return FAN_STRIDES


FAN_FAMILY = {
    "fan_tiny_8_p4_hybrid": FanShape(width=192, blocks=8, heads=8, third_map_after=7),
    "fan_small_12_p4_hybrid": FanShape(width=384, blocks=10, heads=8, third_map_after=9),
    "fan_base_16_p4_hybrid": FanShape(width=448, blocks=16, heads=8, third_map_after=15),
    "fan_large_16_p4_hybrid": FanShape(width=480, blocks=22, heads=10, third_map_after=18, stem_depths=(3, 5)),
}


def sine_code(height: int, width: int) -> Tensor:
    """Fixed two-dimensional sine position code, float32 (1, 64, height, width).

    Positions count from 1 and are scaled to (0, 2*pi]; 32 interleaved sine/cosine channels for y, then for x.
    """
    k = torch.arange(SINE_CHANNELS, dtype=torch.float32)
    period = 10000 ** (2 * torch.div(k, 2, rounding_mode="floor") / SINE_CHANNELS)

    def axis(length: int) -> Tensor:
        position = torch.arange(1, length + 1, dtype=torch.float32) / (length + 1e-6) * (2 * math.pi)
        angle = position[:, None] / period
        return torch.where(k.long() % 2 == 0, angle.sin(), angle.cos())

    y = axis(height)[:, None, :].expand(height, width, SINE_CHANNELS)
    x = axis(width)[None, :, :].expand(height, width, SINE_CHANNELS)
    return torch.cat([y, x], dim=-1).permute(2, 0, 1)[None].contiguous()


def sine_tokens(height: int, width: int) -> Tensor:
    """The same code as tokens, (1, height * width, 64)."""
    return sine_code(height, width).flatten(2).transpose(1, 2)


class PositionCode(nn.Module):
    """The sine code projected to the token width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token_projection = nn.Conv2d(2 * SINE_CHANNELS, width, 1)
        self._codes: SizeCache[Tensor] = SizeCache()

    def forward(self, height: int, width: int) -> Tensor:
        """-> (1, height * width, D)."""
        weight = self.token_projection.weight
        device, dtype = weight.device, weight.dtype
        code = self._codes.get((height, width, device, dtype), lambda: sine_tokens(height, width).to(device, dtype))
        return dense(code, weight, self.token_projection.bias)


class TokenMixing(nn.Module):
    """Softmax self-attention over tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = Dense(width, width)
        self.kv = Dense(width, 2 * width)
        self.proj = Dense(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        batch, count, width = x.shape
        q = self.q(x).view(batch, count, self.heads, -1).transpose(1, 2)
        k, v = self.kv(x).view(batch, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = attention(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return out


class DepthwisePair(nn.Module):
    """Depthwise 3x3, GELU, batch norm, depthwise 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.bn = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        out: Tensor = self.conv2(self.bn(F.gelu(self.conv1(x))))
        return out


class ValueMlp(nn.Module):
    """Widen, add a scaled local (depthwise) term, narrow. There is no other activation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(4 * width))
        self.fc1 = Dense(width, 4 * width)
        self.dwconv = DepthwisePair(4 * width)
        self.fc2 = Dense(4 * width, width)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, N, D) -> (B, N, D), N = height * width, row-major."""
        wide = self.fc1(x)
        batch, count, channels = wide.shape
        # An NHWC block of memory seen as NCHW is channels-last: no copy.
        as_map = wide.view(batch, height, width, channels).permute(0, 3, 1, 2)
        local = self.dwconv(as_map).permute(0, 2, 3, 1).reshape(batch, count, channels)
        out: Tensor = self.fc2(torch.addcmul(wide, self.gamma.to(wide.dtype), local))
        return out


class ChannelMixing(nn.Module):
    """One gate per head and channel, computed over all tokens, on values from ``ValueMlp``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.mlp_v = ValueMlp(width)
        self.norm_v = nn.LayerNorm(width, eps=1e-5)
        self.q = Dense(width, width)

    def gate(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, 1, D): sigmoid of softmaxed query against the mean softmaxed key, per head."""
        batch, count, width = x.shape
        query = self.q(x).softmax(dim=1).view(batch, count, self.heads, -1)
        key = x.softmax(dim=1).view(batch, count, self.heads, -1).mean(dim=-1, keepdim=True)
        score = (query * key).sum(dim=1)  # (B, heads, D / heads)
        gate: Tensor = score.sigmoid() * self.temperature.view(1, -1, 1)
        return gate.reshape(batch, 1, width)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = self.gate(x) * self.norm_v(self.mlp_v(x, height, width))
        return out


class FanBlock(nn.Module):
    """Token mixing and channel mixing, each with norm, layer scale, stochastic depth and residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.gamma1 = nn.Parameter(torch.ones(width))
        self.gamma2 = nn.Parameter(torch.ones(width))
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = TokenMixing(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = ChannelMixing(width, heads)
        self.drop_path = DropPath(DROP_PATH)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.drop_path(self.gamma1 * self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.gamma2 * self.mlp(self.norm2(x), height, width))
        return out


class ClassAttention(nn.Module):
    """The parameters of class-token attention; see ``ClassAttentionBlock`` for why it never runs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)


class ClassMlp(nn.Module):
    """The parameters of the class token's MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)


class _WithoutEffect(torch.autograd.Function):
    """The first input; the others get zeros for gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, *unread: Tensor) -> Tensor:
        ctx.save_for_backward(*unread)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return gradients[0], *(torch.zeros_like(parameter) for parameter in ctx.saved_tensors)


def without_effect(x: Tensor, unread: Iterable[Tensor]) -> Tensor:
    """``x``; the ``unread`` parameters get a gradient of zero: optimisers and several GPUs treat them as used."""
    trained = [parameter for parameter in unread if parameter.requires_grad]
    if not torch.is_grad_enabled() or not trained:
        return x
    out: Tensor = _WithoutEffect.apply(x, *trained)  # type: ignore[no-untyped-call]
    return out


class ClassAttentionBlock(nn.Module):
    """What a class-attention block does to the patch tokens.

    The class token reads the patches, never the other way round, and the decoders use only the patches.
    The class token's own parameters are therefore kept for the checkpoint's sake and not computed with; like those
    of any part that ran without effect they get a gradient of zero.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma1 = nn.Parameter(torch.ones(width))
        self.gamma2 = nn.Parameter(torch.ones(width))
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = ClassAttention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = ClassMlp(width)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D): normed, then doubled by the residual of the block's second half."""
        normed: Tensor = self.norm2(patches + self.gamma1 * self.norm1(patches))
        return without_effect(2 * normed, [self.gamma2, *self.attn.parameters(), *self.mlp.parameters()])


class PatchEmbedding(nn.Module):
    """ConvNeXt stem plus the 2x2 projection to tokens at stride 16."""

    def __init__(self, shape: FanShape, norm: ChannelNormForm) -> None:
        super().__init__()
        self.backbone = ConvNextStem(shape.stem_depths, norm)
        self.proj = nn.Conv2d(256, shape.width, 2, stride=2)


class FanBody(Backbone):
    """The network itself, under the published names.

    Args:
        shape: a row of ``FAN_FAMILY``.
        channel_norm: see ``ChannelNorm``; ``unbiased`` reproduces published CPU numbers.
    """

    def __init__(self, shape: FanShape, channel_norm: ChannelNormForm = "unbiased") -> None:
        super().__init__()
        self.shape = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.patch_embed = PatchEmbedding(shape, channel_norm)
        self.pos_embed = PositionCode(shape.width)
        self.blocks = nn.ModuleList(FanBlock(shape.width, shape.heads) for _ in range(shape.blocks))
        self.cls_attn_blocks = nn.ModuleList(ClassAttentionBlock(shape.width) for _ in range(2))
        self.apply(init_linear)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def pretrained_part(self) -> nn.Module:
        """All of it."""
        return self

    def maps(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W), H and W multiples of 16 -> maps (B, C, H/s, W/s) for the four strides."""
        fine, middle = self.patch_embed.backbone(x)
        tokens_map = self.patch_embed.proj(middle)
        height, width = tokens_map.shape[-2:]
        tokens = tokens_map.flatten(2).transpose(1, 2) + self.pos_embed(height, width)
        third = tokens = without_effect(tokens, [self.cls_token])
        for index, block in enumerate(self.blocks):
            tokens = self.run(block, tokens, height, width)
            if index == self.shape.third_map_after:
                third = tokens
        for block in self.cls_attn_blocks:
            tokens = block(tokens)
        return [fine, middle, _as_map(third, height, width), _as_map(tokens, height, width)]


class Fan(FanBody, PyramidBackbone):
    """A FAN hybrid as a pyramid of four maps at strides 4, 8, 16, 16."""

    def __init__(self, shape: FanShape, channel_norm: ChannelNormForm = "unbiased") -> None:
        super().__init__(shape, channel_norm)
        self.channels, self.strides = shape.channels, shape.strides

    def forward(self, x: Tensor, levels: int = 4) -> list[Tensor]:
        """(B, 3, H, W), H and W multiples of 16 -> the ``levels`` coarsest maps (B, C, H/s, W/s), fine to coarse."""
        return self.maps(x)[-levels:]


class FanEmbedding(FanBody, EmbeddingBackbone):
    """The last map of a FAN hybrid as one vector, for images of one size.

    Args:
        size: (height, width) of the images in pixels.
    """

    def __init__(self, shape: FanShape, size: tuple[int, int], channel_norm: ChannelNormForm = "unbiased") -> None:
        super().__init__(shape, channel_norm)
        stride = shape.strides[-1]
        self.features = shape.width * (size[0] // stride) * (size[1] // stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D * H/16 * W/16), channel by channel."""
        return self.maps(x)[-1].flatten(1)


def _as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    return tokens.view(tokens.shape[0], height, width, -1).permute(0, 3, 1, 2)

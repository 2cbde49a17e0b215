"""The convolutional stem of the FAN hybrids: two ConvNeXt stages at strides 4 and 8."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.layers import ChannelNorm, ChannelNormForm, pointwise, to_nchw, to_nhwc

STEM_CHANNELS = 128
STAGE_CHANNELS = (128, 256)


class PointwiseMlp(nn.Module):
    """Two 1x1 convolutions with an exact GELU between them, on NHWC tensors."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 4 * channels, 1)
        self.fc2 = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return pointwise(self.fc2, F.gelu(pointwise(self.fc1, x)))


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, channel norm, pointwise MLP, layer scale, residual."""

    def __init__(self, channels: int, norm: ChannelNormForm) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = ChannelNorm(channels, form=norm)
        self.mlp = PointwiseMlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        mixed = self.mlp(self.norm(to_nhwc(self.conv_dw(x))))
        return x + to_nchw(self.gamma * mixed)


class ConvNextStage(nn.Module):
    """Optional norm + 2x2 stride-2 convolution, then blocks."""

    def __init__(self, channels_in: int, channels: int, depth: int, norm: ChannelNormForm) -> None:
        super().__init__()
        if channels_in == channels:
            self.downsample: nn.Module = nn.Identity()
        else:
            self.downsample = nn.Sequential(
                ChannelNorm(channels_in, form=norm), nn.Conv2d(channels_in, channels, 2, stride=2)
            )
        self.blocks = nn.Sequential(*(ConvNextBlock(channels, norm) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, C, H, W) or half of it."""
        if isinstance(self.downsample, nn.Sequential):
            x = self.downsample[1](to_nchw(self.downsample[0](to_nhwc(x))))
        out: Tensor = self.blocks(x)
        return out


class ConvNextStem(nn.Module):
    """4x4 patches, then two stages. Returns the maps at strides 4 and 8."""

    def __init__(self, depths: tuple[int, int], norm: ChannelNormForm) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, STEM_CHANNELS, 4, stride=4), ChannelNorm(STEM_CHANNELS, form="ordinary"))
        self.stages = nn.ModuleList(
            [
                ConvNextStage(STEM_CHANNELS, STAGE_CHANNELS[0], depths[0], norm),
                ConvNextStage(STAGE_CHANNELS[0], STAGE_CHANNELS[1], depths[1], norm),
            ]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> (B, 128, H/4, W/4), (B, 256, H/8, W/8)."""
        fine = self.stages[0](to_nchw(self.stem[1](to_nhwc(self.stem[0](x)))))
        return fine, self.stages[1](fine)

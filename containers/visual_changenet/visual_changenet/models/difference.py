"""The learnable difference pyramid shared by the classify and the segment decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.layers import Dense, resize_map, to_nchw, to_nhwc

# Folding costs one product of the kernel with the projection per call; it pays from about this many pixels.
FOLD_FROM = 2048


class ChannelProjection(nn.Module):
    """A linear layer per pixel."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = Dense(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, E, H, W), channels-last in memory."""
        return to_nchw(self.proj(to_nhwc(x)))


def difference_module(width: int) -> nn.Sequential:
    """Two 3x3 convolutions on the concatenated [test, golden] projections: 2E -> E channels.

    The first starts antisymmetric: its kernel on the golden half is the negative of that on the test half, so that an
    untrained network already looks at ``test - golden``.
    """
    first = nn.Conv2d(2 * width, width, 3, padding=1)
    with torch.no_grad():
        first.weight[:, width:] = -first.weight[:, :width]
    return nn.Sequential(
        first,
        nn.ReLU(),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
    )


def fusion(maps: int, width: int) -> nn.Sequential:
    """A 1x1 convolution over ``maps`` concatenated maps of ``width`` channels, then batch norm."""
    return nn.Sequential(nn.Conv2d(maps * width, width, 1), nn.BatchNorm2d(width))


class DifferencePyramid(nn.Module):
    """Base of the decoders: owns ``linear_c1..4`` and ``diff_c1..4`` (1 is the finest level).

    A subclass sets ``linear_fuse``, a ``fusion``, at the place that the published order of names gives it.

    Args:
        channels: of the four backbone maps, fine to coarse.
        strides: of the four backbone maps.
        width: E, the decoder's width.
    """

    linear_fuse: nn.Sequential

    def __init__(self, channels: Sequence[int], strides: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.strides = tuple(strides)
        for level in (4, 3, 2, 1):
            setattr(self, f"linear_c{level}", ChannelProjection(channels[level - 1], width))
        for level in (4, 3, 2, 1):
            setattr(self, f"diff_c{level}", difference_module(width))

    def differences(self, test: Sequence[Tensor], golden: Sequence[Tensor], levels: int = 4) -> list[Tensor]:
        """The ``levels`` coarsest difference maps, coarse to fine, each (B, E, H/s, W/s).

        ``test`` and ``golden`` are at least that many maps, fine to coarse. A finer difference adds the upsampled next
        coarser one. Levels beyond ``levels`` are not computed.
        """
        maps: list[Tensor] = []
        for level in (4, 3, 2, 1)[:levels]:
            difference = self._difference(level, test[level - 5], golden[level - 5])
            if maps:
                difference = difference + resize_map(maps[-1], *difference.shape[-2:])
            maps.append(difference)
        return maps

    def fused(self, maps: Sequence[Tensor], height: int, width: int) -> Tensor:
        """``linear_fuse`` over all maps upsampled to one size: (B, E, height, width).

        The 1x1 convolution is linear per pixel and so is the upsampling, hence each map is convolved at its own
        size and only sums of one size are upsampled: no wide concatenation, and a third of the multiplications.
        """
        conv, norm = self.linear_fuse
        assert isinstance(conv, nn.Conv2d)
        by_size: dict[torch.Size, Tensor] = {}
        for part, weight in zip(maps, torch.split(conv.weight, [self.width] * len(maps), dim=1), strict=True):
            term = F.conv2d(part, weight)
            size = part.shape[-2:]
            by_size[size] = by_size[size] + term if size in by_size else term
        total: Tensor = sum(resize_map(term, height, width) for term in by_size.values())  # type: ignore[assignment]
        assert conv.bias is not None
        out: Tensor = norm(total + conv.bias.to(total.dtype).view(1, -1, 1, 1))
        return out

    def _difference(self, level: int, test: Tensor, golden: Tensor) -> Tensor:
        project: ChannelProjection = getattr(self, f"linear_c{level}")
        layers: nn.Sequential = getattr(self, f"diff_c{level}")
        positions = test.shape[0] * test.shape[2] * test.shape[3]
        if test.shape[1] < self.width and positions >= FOLD_FROM:
            first = folded_convolution(layers[0], project.proj, test, golden)
        else:
            first = layers[0](torch.cat([project(test), project(golden)], dim=1))
        out: Tensor = layers[1:](first)
        return out


def folded_convolution(conv: nn.Module, projection: nn.Linear, test: Tensor, golden: Tensor) -> Tensor:
    """``conv(cat(projection(test), projection(golden)))`` with the projection folded into the kernel.

    For C < E input channels this convolves 2C channels in place of 2E. The projection's bias is absent from
    the zero padding: near the border it counts only for the taps inside, a small map that is added.

    Args:
        conv: 3x3, 2E -> E. test, golden: (B, C, H, W). Returns (B, E, H, W).
    """
    assert isinstance(conv, nn.Conv2d)
    with torch.autocast(test.device.type, enabled=False):
        halves = conv.weight.view(conv.out_channels, 2, projection.out_features, 3, 3)
        kernel = torch.einsum("ohiyx,ic->ohcyx", halves, projection.weight).flatten(1, 2)
        taps = torch.einsum("ohiyx,i->oyx", halves, projection.bias)[:, None]
        inside = taps.new_ones(1, 1, *test.shape[-2:])
        bias_map = F.conv2d(inside, taps, conv.bias, padding=1)
    out = F.conv2d(torch.cat([test, golden], dim=1), kernel, padding=1)
    return out + bias_map.to(out.dtype)

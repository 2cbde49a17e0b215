"""The last stage of the segment decoder without its wide full-size maps.

The stage doubles a map by a transposed convolution T, adds a residual of two convolutions, and predicts::

    x = T(z)                       z (B, E, h, w)  ->  x (B, E, 2h, 2w)
    y = x + 0.1 * conv2(relu(conv1(x)))
    out = predict(y)               (B, n, 2h, 2w)

All but the relu is linear, so ``conv1 . T`` is one convolution of z that gives the four pixels of every 2 x 2
block as channels, and ``predict . T`` and ``predict . conv2`` are convolutions with n outputs. That is 9 E^2
products per pixel in place of 22 E^2. Each inner convolution pads with zeros, a folded one sees what T or conv2
would give outside of the image: on the four borders that part is computed on strips and taken off again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """The layers: T (E, E, 4, 4; stride 2, padding 1), conv1 and conv2 (E, E, 3, 3), predict (n, E, 3, 3)."""

    double: nn.ConvTranspose2d
    conv1: nn.Conv2d
    conv2: nn.Conv2d
    predict: nn.Conv2d
    residual_scale: float


@dataclass(frozen=True)
class Strips:
    """What lies just outside of a map (B, C, S, S'): rows -1 and S with S' + 2 values, columns -1 and S' with S."""

    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor

    def convolved(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Their part in a 3 x 3 convolution, for the outermost rows (B, O, S') and columns (B, O, S) inside."""
        return (
            F.conv1d(self.top, weight[:, :, 0]),
            F.conv1d(self.bottom, weight[:, :, 2]),
            F.conv1d(self.left, weight[:, :, :, 0], padding=1),
            F.conv1d(self.right, weight[:, :, :, 2], padding=1),
        )

    def plus(self, other: Strips, scale: float) -> Strips:
        """self + scale * other."""
        pairs = ((self.top, other.top), (self.bottom, other.bottom), (self.left, other.left), (self.right, other.right))
        return Strips(*(torch.add(a, b.to(a.dtype), alpha=scale) for a, b in pairs))


class TakeOffBorders(torch.autograd.Function):
    """Subtract rows and columns at the borders of a map whose 2 x 2 blocks are channels, in place.

    As slices of one tensor, autograd would copy the whole gradient once per border.
    """

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """blocks (B, 4C, h, w); top, bottom (B, C, 2w); left, right (B, C, 2h)."""
        ctx.mark_dirty(blocks)
        for edge, part in zip(edges(blocks), (top, bottom, left, right), strict=True):
            edge.sub_(by_parity(part))
        return blocks

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the map, and its negative at the borders."""
        return (grads[0], *(-edge.transpose(2, 3).flatten(2) for edge in edges(grads[0])))


def without_borders(blocks: Tensor, *borders: Tensor) -> Tensor:
    """``TakeOffBorders`` with its arguments."""
    out: Tensor = TakeOffBorders.apply(blocks, *borders)  # type: ignore[no-untyped-call]
    return out


def edges(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """First and last row (B, C, 2, w), first and last column (B, C, 2, h) of (B, 4C, h, w), as views."""
    batch, channels, height, width = blocks.shape
    parts = blocks.view(batch, channels // 4, 2, 2, height, width)
    return (
        parts[:, :, 0, :, 0, :],
        parts[:, :, 1, :, -1, :],
        parts[:, :, :, 0, :, 0],
        parts[:, :, :, 1, :, -1],
    )


def by_parity(line: Tensor) -> Tensor:
    """(B, C, 2n) -> (B, C, 2, n): even and odd places."""
    return line.view(*line.shape[:2], -1, 2).transpose(2, 3)


def outside_of_doubled(z: Tensor, double: nn.ConvTranspose2d) -> Strips:
    """The row and column that T would give on each side of T(z)."""
    weight, bias = double.weight, double.bias
    return Strips(
        F.conv_transpose1d(z[:, :, 0], weight[:, :, 0], bias, stride=2),
        F.conv_transpose1d(z[:, :, -1], weight[:, :, 3], bias, stride=2),
        F.conv_transpose1d(z[:, :, :, 0], weight[:, :, :, 0], bias, stride=2)[:, :, 1:-1],
        F.conv_transpose1d(z[:, :, :, -1], weight[:, :, :, 3], bias, stride=2)[:, :, 1:-1],
    )


def outside_of_convolved(blocks: Tensor, conv: nn.Conv2d) -> Strips:
    """The row and column that a 3 x 3 convolution would give on each side; the map is zero out there."""
    top, bottom, left, right = (edge.transpose(2, 3).flatten(2) for edge in edges(blocks))
    weight, bias = conv.weight, conv.bias
    return Strips(
        F.conv1d(top, weight[:, :, 2], bias, padding=2),
        F.conv1d(bottom, weight[:, :, 0], bias, padding=2),
        F.conv1d(left, weight[:, :, :, 2], bias, padding=2)[:, :, 1:-1],
        F.conv1d(right, weight[:, :, :, 0], bias, padding=2)[:, :, 1:-1],
    )


def after_doubling(double: Tensor, conv: Tensor) -> Tensor:
    """One kernel for ``conv . T``: (E, M, 4, 4) and (O, M, 3, 3) -> (4 O, E, 3, 3), blocks as channels.

    The two compose to a transposed convolution of 6 x 6 with stride 2, of which every output pixel sees 3 x 3.
    """
    composed = F.conv2d(double, conv, padding=2)
    inputs, outputs = composed.shape[:2]
    split = composed.view(inputs, outputs, 3, 2, 3, 2).flip(2, 4)
    return split.permute(1, 3, 5, 0, 2, 4).reshape(4 * outputs, inputs, 3, 3)


def between_blocks(first: Tensor, second: Tensor) -> Tensor:
    """One kernel for ``second . first`` on blocks: (M, E, 3, 3) and (n, M, 3, 3) -> (4 n, 4 E, 3, 3).

    Composed they are 5 x 5; from pixel a of a block to pixel b of the block at offset o it is 2 o + b - a.
    """
    composed = F.pad(F.conv_transpose2d(second, first), (1, 1, 1, 1))  # index 3 is the centre, 0 and 6 are zero
    steps = torch.arange(2, device=first.device)
    offsets = 2 * torch.arange(-1, 2, device=first.device)
    index = offsets + steps[:, None] - steps[:, None, None] + 3  # [a, b, o]
    rows = composed[:, :, index]  # (n, E, a, b, o, 7)
    blocks = rows[..., index]  # (n, E, ay, by, oy, ax, bx, ox)
    outputs, inputs = composed.shape[:2]
    return blocks.permute(0, 2, 5, 1, 3, 6, 4, 7).reshape(4 * outputs, 4 * inputs, 3, 3)


def spread(per_channel: Tensor) -> Tensor:
    """(C,) -> (4 C,): the same for the four pixels of a block."""
    return per_channel.repeat_interleave(4)


def full_size_logits(z: Tensor, stage: Stage) -> Tensor:
    """``out`` of the module's description: (B, E, h, w) -> (B, n, 2h, 2w)."""
    double, conv1, conv2, predict = stage.double, stage.conv1, stage.conv2, stage.predict
    assert double.bias is not None and conv1.bias is not None and conv2.bias is not None and predict.bias is not None
    scale = stage.residual_scale
    with torch.autocast(z.device.type, enabled=False):
        hidden_kernel = after_doubling(double.weight, conv1.weight)
        hidden_bias = conv1.bias + conv1.weight.sum(dim=(2, 3)) @ double.bias
        direct_kernel = after_doubling(double.weight, predict.weight)
        residual_kernel = scale * between_blocks(conv2.weight, predict.weight)
        out_bias = predict.bias + predict.weight.sum(dim=(2, 3)) @ (double.bias + scale * conv2.bias)
    outside = outside_of_doubled(z, double)
    blocks = F.conv2d(z, hidden_kernel, spread(hidden_bias), padding=1)
    borders = (part.to(blocks.dtype) for part in outside.convolved(conv1.weight))
    hidden = F.relu(without_borders(blocks, *borders))
    out = F.conv2d(z, direct_kernel, spread(out_bias), padding=1) + F.conv2d(hidden, residual_kernel, padding=1)
    outside = outside.plus(outside_of_convolved(hidden, conv2), scale)
    out = without_borders(out, *(part.to(out.dtype) for part in outside.convolved(predict.weight)))
    return F.pixel_shuffle(out, 2)

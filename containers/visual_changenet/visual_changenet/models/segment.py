"""The segment network: a change map from coarse to fine, five outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.backbones.base import PyramidBackbone
from visual_changenet.models.difference import DifferencePyramid, fusion
from visual_changenet.models.full_size import Stage, full_size_logits

RESIDUAL_SCALE = 0.1
# Pixels of a batch from which folding the last stage pays; below, making its kernels costs more than it saves.
FOLD_FROM = 32768


def prediction_head(width: int, classes: int) -> nn.Sequential:
    """Logits of one level: (B, E, h, w) -> (B, classes, h, w)."""
    return nn.Sequential(
        nn.Conv2d(width, classes, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(classes),
        nn.Conv2d(classes, classes, 3, padding=1),
    )


class Wrapped(nn.Module):
    """A convolution under the published name ``conv2d``."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv2d = conv

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x."""
        out: Tensor = self.conv2d(x)
        return out


class Residual(nn.Module):
    """``x + 0.1 * conv2(relu(conv1(x)))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = Wrapped(nn.Conv2d(width, width, 3, padding=1))
        self.conv2 = Wrapped(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, E, h, w) -> (B, E, h, w)."""
        return torch.add(x, self.conv2(F.relu(self.conv1(x))), alpha=RESIDUAL_SCALE)


class SegmentDecoder(DifferencePyramid):
    """Difference maps of four levels, a prediction from each, and one at full size from all of them.

    Args:
        channels, strides, width: see ``DifferencePyramid``.
        classes: number of classes of the mask, at least 2.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], width: int, classes: int) -> None:
        super().__init__(channels, strides, width)
        for level in (4, 3, 2, 1):
            setattr(self, f"make_pred_c{level}", prediction_head(width, classes))
        self.linear_fuse = fusion(4, width)
        self.convd2x = Wrapped(nn.ConvTranspose2d(width, width, 4, stride=2, padding=1))
        self.dense_2x = nn.Sequential(Residual(width))
        self.convd1x = Wrapped(nn.ConvTranspose2d(width, width, 4, stride=2, padding=1))
        self.dense_1x = nn.Sequential(Residual(width))
        self.change_probability = Wrapped(nn.Conv2d(width, classes, 3, padding=1))

    def forward(self, golden: Sequence[Tensor], test: Sequence[Tensor], *, final_only: bool = False) -> list[Tensor]:
        """Four maps each -> five maps of logits, coarse to fine; the last has the size of the image."""
        maps = self.differences(golden, test)
        if final_only:
            return [self.finest(maps)]
        heads = (getattr(self, f"make_pred_c{level}") for level in (4, 3, 2, 1))
        return [*(head(part) for head, part in zip(heads, maps, strict=True)), self.finest(maps)]

    def finest(self, maps: Sequence[Tensor]) -> Tensor:
        """From the four difference maps to the logits at full size, (B, classes, S, S)."""
        size = maps[-1].shape[-2:]
        x = self.fused(maps, int(size[0]), int(size[1]))
        x = self.dense_2x(self.convd2x(x))
        pixels = 4 * x.shape[0] * x.shape[2] * x.shape[3]
        if pixels >= FOLD_FROM and not (torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()):
            return full_size_logits(x, self._last_stage())
        out: Tensor = self.change_probability(self.dense_1x(self.convd1x(x)))
        return out

    def _last_stage(self) -> Stage:
        double, predict = self.convd1x.conv2d, self.change_probability.conv2d
        residual = self.dense_1x[0]
        assert isinstance(residual, Residual)
        conv1, conv2 = residual.conv1.conv2d, residual.conv2.conv2d
        assert isinstance(double, nn.ConvTranspose2d) and isinstance(predict, nn.Conv2d)
        assert isinstance(conv1, nn.Conv2d) and isinstance(conv2, nn.Conv2d)
        return Stage(double, conv1, conv2, predict, RESIDUAL_SCALE)


class SegmentNetwork(nn.Module):
    """Backbone pyramid of both images, then ``SegmentDecoder``."""

    def __init__(self, backbone: PyramidBackbone, decoder: SegmentDecoder) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder

    def forward(self, golden: Tensor, test: Tensor, *, final_only: bool = False) -> list[Tensor]:
        """(B, 3, S, S) twice -> five maps of logits (B, classes, h, w), coarse to fine; the last is S x S.

        ``final_only`` gives the list of that last one, without computing the others.
        """
        maps: list[Tensor] = self.decoder(self.backbone(golden), self.backbone(test), final_only=final_only)
        return maps

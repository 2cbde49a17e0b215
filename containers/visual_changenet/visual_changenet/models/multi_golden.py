"""Architecture 2 with several golden images per test image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.classify import ClassifyDecoder, DecoderShape, LearnableClassifier
from visual_changenet.models.layers import Dense, attention

CELL = 7  # maps are cut so that the places of one attention lie this far apart


class GoldenAttention(nn.Module):
    """Attention, single head, over all golden images and over every seventh place in both directions."""

    scaling: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("scaling", torch.tensor(1 / math.sqrt(width)))
        self.W_q = Dense(width, width)
        self.W_k = Dense(width, width)
        self.W_v = Dense(width, width)
        self.W_o = Dense(width, width)

    def forward(self, maps: Tensor) -> Tensor:
        """(G, B, E, h, w) -> (B, E, h, w), the largest value over the G golden images; h and w multiples of 7."""
        goldens, batch, width, height, breadth = maps.shape
        rows, columns = height // CELL, breadth // CELL
        cells = maps.view(goldens, batch, width, rows, CELL, columns, CELL).permute(1, 4, 6, 0, 3, 5, 2)
        tokens = cells.reshape(batch * CELL * CELL, goldens * rows * columns, width)
        q, k, v = self.W_q(tokens) * self.scaling, self.W_k(tokens), self.W_v(tokens)
        mixed = attention(q[:, None], k[:, None], v[:, None], scale=1.0)[:, 0]
        tokens = tokens + self.W_o(mixed)
        best = tokens.view(batch, CELL, CELL, goldens, rows, columns, width).amax(dim=3)
        out: Tensor = best.permute(0, 5, 3, 1, 4, 2).reshape(batch, width, height, breadth)
        return out


class MultiGoldenDecoder(ClassifyDecoder):
    """Differences to every golden image, joined by attention before they are fused.

    The sides of the network's input must be multiples of 32 * 7 pixels.
    """

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__(shape)
        for level in (1, 2, 3, 4):
            cells = [side // shape.strides[level - 1] // CELL for side in shape.size]
            setattr(self, f"position_embedding_c{level}", nn.Parameter(torch.zeros(1, shape.width, *cells)))
        for level in (1, 2, 3, 4):
            setattr(self, f"attn_c{level}", GoldenAttention(shape.width))
        for level in (1, 2, 3, 4):
            setattr(self, f"bn{level}", nn.BatchNorm2d(shape.width))
        self.add_head(shape)

    def forward(self, test: Sequence[Tensor], golden: Sequence[Tensor]) -> Tensor:
        """Maps (B, C, h, w) and (G * B, C, h, w), golden image by golden image -> logits (B, classes)."""
        batch = test[0].shape[0]
        maps = self.differences(test, golden, self.modules_used)
        return self.classify([self._joined(4 - index, part, batch) for index, part in enumerate(maps)])

    def _joined(self, level: int, differences: Tensor, batch: int) -> Tensor:
        position: Tensor = getattr(self, f"position_embedding_c{level}")
        placed = differences + position.repeat(1, 1, CELL, CELL)
        joined = getattr(self, f"attn_c{level}")(placed.view(-1, batch, *placed.shape[1:]))
        out: Tensor = getattr(self, f"bn{level}")(joined)
        return out

    def _difference(self, level: int, test: Tensor, golden: Tensor) -> Tensor:
        """The test image's half of the first convolution is computed once for all golden images."""
        project, layers = getattr(self, f"linear_c{level}"), getattr(self, f"diff_c{level}")
        own, other = torch.split(layers[0].weight, [self.width, self.width], dim=1)
        unit = F.conv2d(project(test), own, layers[0].bias, padding=1)
        first = F.conv2d(project(golden), other, padding=1)
        first = (first.view(-1, *unit.shape) + unit).flatten(0, 1)
        out: Tensor = layers[1:](first)
        return out


class MultiGoldenClassifier(LearnableClassifier):
    """Backbone pyramids of the test and of all golden images, then ``MultiGoldenDecoder``.

    The backbone learns from the test image and the first golden image; the others are only looked at.
    """

    def forward(self, test: Tensor, golden: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, G, 3, H, W) -> logits (B, num_classes)."""
        levels = self.decoder.modules_used
        maps, goldens = self.backbone(test, levels), [self.backbone(golden[:, 0], levels)]
        with torch.no_grad():
            goldens += [self.backbone(golden[:, index], levels) for index in range(1, golden.shape[1])]
        logits: Tensor = self.decoder(maps, [torch.cat(parts) for parts in zip(*goldens, strict=True)])
        return logits

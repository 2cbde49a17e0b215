"""The two classify networks: distance of embeddings, and learnable differences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.backbones.fan import Fan
from visual_changenet.models.difference import DifferencePyramid, fusion


def head(features: int, hidden: int, outputs: int) -> nn.Sequential:
    """Three linear layers with ReLU and batch norm between them."""
    return nn.Sequential(
        nn.Linear(features, hidden),
        nn.ReLU(),
        nn.BatchNorm1d(hidden),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.BatchNorm1d(hidden),
        nn.Linear(hidden, outputs),
    )


class EuclideanClassifier(nn.Module):
    """Architecture 1: both images to a small embedding; the answer is their distance."""

    def __init__(self, backbone: Fan, size: tuple[int, int], embedding: int) -> None:
        super().__init__()
        self.backbone = backbone
        features = backbone.channels[-1] * (size[0] // 16) * (size[1] // 16)
        self.fc1 = head(features, 512, embedding)

    def embed(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, embedding_vectors)."""
        out: Tensor = self.fc1(self.backbone(x)[-1].flatten(1))
        return out

    def forward(self, test: Tensor, golden: Tensor) -> Tensor:
        """(B, 3, H, W) twice -> distance (B,), >= 0; 1e-6 is added to each difference."""
        return F.pairwise_distance(self.embed(test).float(), self.embed(golden).float())

    def score(self, output: Tensor) -> Tensor:
        """Distance (B,) -> the same distance as the defect score."""
        return output


class DifferenceClassifier(DifferencePyramid):
    """The decoder of architecture 2: fuse the coarsest ``modules`` difference maps and classify."""

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        size: tuple[int, int],
        *,
        width: int,
        modules: int,
        hidden: int,
        classes: int,
    ) -> None:
        super().__init__(channels, strides, width)
        self.modules_used = modules
        self.linear_fuse = fusion(modules, width)
        self.classifier = head(width * (size[0] // strides[0]) * (size[1] // strides[0]), hidden, classes)

    def forward(self, test: Sequence[Tensor], golden: Sequence[Tensor]) -> Tensor:
        """Four maps each -> logits (B, classes)."""
        maps = self.differences(test, golden, self.modules_used)
        size = test[0].shape[-2:]
        fused = self.fused(maps, int(size[0]), int(size[1]))
        logits: Tensor = self.classifier(fused.flatten(1))
        return logits


class LearnableClassifier(nn.Module):
    """Architecture 2: backbone pyramid of both images, then ``DifferenceClassifier``."""

    def __init__(self, backbone: Fan, decoder: DifferenceClassifier) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder

    def forward(self, test: Tensor, golden: Tensor) -> Tensor:
        """(B, 3, H, W) twice -> logits (B, num_classes)."""
        logits: Tensor = self.decoder(self.backbone(test), self.backbone(golden))
        return logits

    def score(self, output: Tensor) -> Tensor:
        """Logits (B, n) -> probability of class 1 (B,), in 0..1."""
        return output.float().softmax(dim=1)[:, 1]

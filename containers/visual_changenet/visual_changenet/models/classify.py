"""The two classify networks: distance of embeddings, and learnable differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.backbones.base import EmbeddingBackbone, PyramidBackbone
from visual_changenet.models.difference import DifferencePyramid, fusion

EMBEDDING_HIDDEN = 512


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

    def __init__(self, backbone: EmbeddingBackbone, embedding: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc1 = head(backbone.features, EMBEDDING_HIDDEN, embedding)

    def embed(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, embedding_vectors)."""
        out: Tensor = self.fc1(self.backbone(x))
        return out

    def forward(self, test: Tensor, golden: Tensor) -> Tensor:
        """(B, 3, H, W) twice -> distance (B,), >= 0; 1e-6 is added to each difference."""
        return F.pairwise_distance(self.embed(test).float(), self.embed(golden).float())

    def score(self, output: Tensor) -> Tensor:
        """Distance (B,) -> the same distance as the defect score."""
        return output


@dataclass(frozen=True)
class DecoderShape:
    """What the decoder of architecture 2 is built from.

    Attributes:
        channels, strides: of the four backbone maps, fine to coarse.
        size: (height, width) of the network's input in pixels.
        width: E, channels of the decoder.
        modules: how many difference maps are used, 1 to 4, the coarsest first.
        hidden: width of the classifier's hidden layers.
        classes: number of logits.
    """

    channels: Sequence[int]
    strides: Sequence[int]
    size: tuple[int, int]
    width: int
    modules: int
    hidden: int
    classes: int


class ClassifyDecoder(DifferencePyramid):
    """Base of the decoders that fuse difference maps and classify; a subclass calls ``add_head`` at the end."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__(shape.channels, shape.strides, shape.width)
        self.modules_used = shape.modules

    def add_head(self, shape: DecoderShape) -> None:
        """Register the fusion and the classifier."""
        height, width = (side // shape.strides[0] for side in shape.size)
        self.linear_fuse = fusion(shape.modules, shape.width)
        self.classifier = head(shape.width * height * width, shape.hidden, shape.classes)

    def classify(self, maps: Sequence[Tensor]) -> Tensor:
        """Difference maps (B, E, h, w), coarse to fine -> logits (B, classes)."""
        ratio = self.strides[-1] // self.strides[0]
        height, width = maps[0].shape[-2:]
        logits: Tensor = self.classifier(self.fused(maps, height * ratio, width * ratio).flatten(1))
        return logits


class DifferenceClassifier(ClassifyDecoder):
    """The decoder of architecture 2: fuse the coarsest difference maps and classify."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__(shape)
        self.add_head(shape)

    def forward(self, test: Sequence[Tensor], golden: Sequence[Tensor]) -> Tensor:
        """The coarsest maps of both images, at least as many as are used -> logits (B, classes)."""
        return self.classify(self.differences(test, golden, self.modules_used))


class LearnableClassifier(nn.Module):
    """Architecture 2: backbone pyramid of both images, then a decoder."""

    def __init__(self, backbone: PyramidBackbone, decoder: ClassifyDecoder) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder

    def forward(self, test: Tensor, golden: Tensor) -> Tensor:
        """(B, 3, H, W) twice -> logits (B, num_classes)."""
        levels = self.decoder.modules_used
        logits: Tensor = self.decoder(self.backbone(test, levels), self.backbone(golden, levels))
        return logits

    def score(self, output: Tensor) -> Tensor:
        """Logits (B, n) -> probability of class 1 (B,), in 0..1."""
        return output.float().softmax(dim=1)[:, 1]

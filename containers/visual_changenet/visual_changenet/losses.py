"""Training losses of both tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = 255


class ContrastiveLoss(nn.Module):
    """Batch mean of ``(1-y) d^2 + y max(margin-d, 0)^2`` (Hadsell et al., 2006), y = 1 for a defect."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, distance: Tensor, target: Tensor) -> Tensor:
        """Distance (B,) and target (B,) of 0 or 1 -> scalar. Sample i is judged by label i only."""
        y = target.to(distance.dtype).view_as(distance)
        near, far = distance.square(), (self.margin - distance).clamp(min=0).square()
        return ((1 - y) * near + y * far).mean()


class WeightedCrossEntropy(nn.CrossEntropyLoss):
    """Cross entropy with class weights; the weights are the buffer ``weight`` of the checkpoint."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (B, n) and target (B,) of class indices as any number type -> scalar."""
        return super().forward(logits.float(), target.view(-1).long())


def pixel_cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean cross entropy over the pixels that are not 255; 0 where all are. (B, n, h, w), (B, h, w) long -> scalar."""
    total = F.cross_entropy(logits.float(), mask, ignore_index=IGNORED, reduction="sum")
    return total / (mask != IGNORED).sum().clamp(min=1)


def minimum_mean_iou(logits: Tensor, mask: Tensor) -> Tensor:
    """``-(min IoU + mean IoU)`` over samples and classes with softmax probabilities as soft membership.

    IoU = sum(p t) / (sum(p + t - p t) + 1e-8); pixels of value 255 count in neither sum.
    (B, n, h, w), (B, h, w) long -> scalar in -2..0.
    """
    valid = (mask != IGNORED)[:, None]
    probability = logits.float().softmax(dim=1) * valid
    truth = F.one_hot(mask.masked_fill(mask == IGNORED, 0), logits.shape[1]).movedim(-1, 1) * valid
    shared = (probability * truth).sum(dim=(2, 3))
    union = (probability + truth).sum(dim=(2, 3)) - shared
    iou = shared / (union + 1e-8)
    return -iou.min() - iou.mean()


class ChangeMapLoss(nn.Module):
    """Weighted sum of one loss over the maps from coarse to fine, the mask resized (nearest) to each of them.

    Args:
        kind: ``ce`` or ``mmiou``.
        weights: one per map from coarse to fine; None judges the last map only, with weight 1.
    """

    def __init__(self, kind: str, weights: Sequence[float] | None) -> None:
        super().__init__()
        self.measure = minimum_mean_iou if kind == "mmiou" else pixel_cross_entropy
        self.weights = weights

    def forward(self, maps: Sequence[Tensor], mask: Tensor) -> Tensor:
        """Maps (B, n, h, w) and mask (B, 1, S, S) of class indices as any integer type -> scalar."""
        if self.weights is None:
            return self.measure(maps[-1], resized_mask(mask, maps[-1]))
        terms = [
            weight * self.measure(logits, resized_mask(mask, logits))
            for weight, logits in zip(self.weights, maps, strict=True)
        ]
        return torch.stack(terms).sum()


def resized_mask(mask: Tensor, like: Tensor) -> Tensor:
    """Mask (B, 1, S, S) at the size of ``like`` (B, n, h, w), nearest: (B, h, w) int64."""
    if mask.shape[-2:] != like.shape[-2:]:
        mask = F.interpolate(mask.float(), size=like.shape[-2:], mode="nearest")
    return mask[:, 0].long()


def build_loss(spec: dict[str, Any]) -> nn.Module:
    """The loss of a complete spec.

    classify: contrastive for euclidean, weighted ``ce`` for learnable; segment: ``ChangeMapLoss``.
    """
    if spec["task"] == "segment":
        options = spec["train"]["segment"]
        several = spec["dataset"]["segment"]["multi_scale_train"]
        return ChangeMapLoss(options["loss"], options["weights"] if several else None)
    if spec["model"]["classify"]["difference_module"] == "euclidean":
        return ContrastiveLoss(spec["model"]["classify"]["train_margin_euclid"])
    return WeightedCrossEntropy(weight=torch.tensor(spec["train"]["classify"]["cls_weight"], dtype=torch.float32))

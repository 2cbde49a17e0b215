"""Training losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


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


def build_loss(spec: dict[str, Any]) -> ContrastiveLoss | WeightedCrossEntropy:
    """The loss that fits the difference module: contrastive for euclidean, weighted ``ce`` for learnable."""
    if spec["model"]["classify"]["difference_module"] == "euclidean":
        return ContrastiveLoss(spec["model"]["classify"]["train_margin_euclid"])
    return WeightedCrossEntropy(weight=torch.tensor(spec["train"]["classify"]["cls_weight"], dtype=torch.float32))

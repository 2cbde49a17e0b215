"""Training of the task segment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from visual_changenet.data.segment import SegmentItem
from visual_changenet.mask_metrics import confusion_of, mask_scores
from visual_changenet.models import SegmentNetwork
from visual_changenet.training.distributed import summed
from visual_changenet.training.module import ChangeModule


class SegmentModule(ChangeModule):
    """Metrics: train_* and val_* of loss, acc, miou, mf1, mprecision, mrecall, and iou_i, F1_i, … per class."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.classes: int = spec["dataset"]["segment"]["num_classes"]
        self.several_scales: bool = spec["dataset"]["segment"]["multi_scale_train"]
        self._confusion: dict[str, Tensor] = {}
        self._losses: dict[str, Tensor] = {}
        for phase in ("train", "val"):
            self.forget(phase)

    def judge(self, batch: SegmentItem, phase: str) -> Tensor:
        """One batch (golden, test, mask (B,1,S,S), index) -> scalar loss."""
        assert isinstance(self.model, SegmentNetwork)
        golden, test, mask, _ = batch
        maps = self.model(golden, test, final_only=not self.several_scales)
        loss: Tensor = self.criterion(maps, mask)
        with torch.no_grad():
            self._confusion[phase] = self._confusion[phase].to(mask.device) + confusion_of(maps[-1], mask)
            weighted = torch.stack([loss.detach().double() * len(mask), loss.new_tensor(len(mask)).double()])
            self._losses[phase] = self._losses[phase].to(mask.device) + weighted
        return loss

    def validation_metrics(self) -> tuple[str, ...]:
        """Loss, and the scores of the confusion matrix."""
        scores = mask_scores(torch.zeros(self.classes, self.classes))
        return ("val_loss", *(f"val_{name}" for name in scores))

    def forget(self, phase: str) -> None:
        """Start counting pixels anew."""
        self._confusion[phase] = torch.zeros(self.classes, self.classes, dtype=torch.int64, device=self.device)
        self._losses[phase] = torch.zeros(2, dtype=torch.float64, device=self.device)

    def summary(self, phase: str) -> dict[str, float]:
        """Mean loss, and the scores of the confusion matrix."""
        total, count = summed(self._losses[phase]).tolist()
        if not count:
            return {}
        scores = mask_scores(summed(self._confusion[phase]))
        return {f"{phase}_loss": total / count} | {f"{phase}_{name}": value for name, value in scores.items()}

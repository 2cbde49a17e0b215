"""Training of the task classify."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from visual_changenet.data.classify import Item
from visual_changenet.metrics import score_split
from visual_changenet.models import EuclideanClassifier, LearnableClassifier
from visual_changenet.training.distributed import gathered
from visual_changenet.training.module import ChangeModule


class ClassifyModule(ChangeModule):
    """Metrics: train_loss, train_acc, train_fpr, train_ap and val_loss, val_acc, val_fpr, val_ap.

    Decisions are made at ``model.classify.eval_margin``.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.margin: float = spec["model"]["classify"]["eval_margin"]
        self._seen: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {"train": [], "val": []}

    def judge(self, batch: Item, phase: str) -> Tensor:
        """One batch (test, golden, label (B,1)) -> scalar loss."""
        assert isinstance(self.model, EuclideanClassifier | LearnableClassifier)
        test, golden, label = batch
        output = self.model(test, golden)
        target = label.view(-1)
        loss: Tensor = self.criterion(output, target)
        with torch.no_grad():
            self._seen[phase].append((loss.detach(), self.model.score(output.detach()), target))
        return loss

    def validation_metrics(self) -> tuple[str, ...]:
        """Loss, and scores at the margin; average precision where the data has both classes."""
        return ("val_loss", "val_acc", "val_fpr", "val_ap")

    def forget(self, phase: str) -> None:
        """Drop what was seen."""
        self._seen[phase].clear()

    def summary(self, phase: str) -> dict[str, float]:
        """Mean loss, and scores at the margin."""
        seen = gathered([(loss.cpu(), scores.cpu(), target.cpu()) for loss, scores, target in self._seen[phase]])
        if not seen:
            return {}
        counts = torch.tensor([len(target) for _, _, target in seen], dtype=torch.float64)
        losses = torch.stack([loss for loss, _, _ in seen]).double()
        scores = torch.cat([scores for _, scores, _ in seen]).double().numpy()
        targets = torch.cat([target for _, _, target in seen]).long().numpy()
        mean_loss = float((losses * counts).sum() / counts.sum())
        return {f"{phase}_loss": mean_loss} | score_split(scores, targets, self.margin, phase)

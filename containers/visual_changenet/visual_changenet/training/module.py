"""The Lightning module of the task classify."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from visual_changenet.errors import RunError
from visual_changenet.losses import build_loss
from visual_changenet.metrics import score_split
from visual_changenet.models import build_model

Batch = tuple[Tensor, Tensor, Tensor]


def learning_rate_factor(policy: str, epoch: int, num_epochs: int) -> float:
    """Factor on the first learning rate in epoch ``epoch`` (from 0).

    linear: ``1 - e/(E+1)``; step: a tenth after every ``max(1, E // 3)`` epochs.
    """
    if policy == "linear":
        return 1.0 - epoch / (num_epochs + 1)
    return float(0.1 ** (epoch // max(1, num_epochs // 3)))


class ClassifyModule(pl.LightningModule):
    """Network, loss, optimiser and the scores of an epoch.

    After an epoch ``epoch_metrics`` holds train_loss, train_acc, train_fpr (and train_ap) and, after a
    validation, val_loss, val_acc, val_fpr, val_ap; decisions are made at ``model.classify.eval_margin``.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self.spec = spec
        self.model = build_model(spec)
        self.criterion = build_loss(spec)
        self.margin: float = spec["model"]["classify"]["eval_margin"]
        self.epoch_metrics: dict[str, float] = {}
        self.last_loss: Tensor | None = None
        self._seen: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {"train": [], "val": []}
        self.frozen = bool(spec["model"]["backbone"]["freeze_backbone"])
        if self.frozen:
            self.model.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> ClassifyModule:
        """As usual, except that a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.model.backbone.eval()
        return self

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One batch (test, golden, label (B,1)) -> scalar loss."""
        loss = self._judge(batch, "train")
        self.last_loss = loss.detach()
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects loss and scores of one batch."""
        self._judge(batch, "val")

    def _judge(self, batch: Batch, phase: str) -> Tensor:
        test, golden, label = batch
        output = self.model(test, golden)
        target = label.view(-1)
        loss: Tensor = self.criterion(output, target)
        with torch.no_grad():
            self._seen[phase].append((loss.detach(), self.model.score(output.detach()), target))
        return loss

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch."""
        self.epoch_metrics = {}
        self._seen["train"].clear()

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._seen["val"].clear()

    def on_validation_epoch_end(self) -> None:
        """Score the validation."""
        self.epoch_metrics |= self._summary("val")

    def close_epoch(self) -> dict[str, float]:
        """Score the training part and return all metrics of the epoch.

        Raises:
            RunError: ``E_RUN_NONFINITE`` where the training loss is no number any more.
        """
        self.epoch_metrics = self._summary("train") | self.epoch_metrics
        if not np.isfinite(self.epoch_metrics.get("train_loss", 0.0)):
            raise RunError(
                "E_RUN_NONFINITE",
                f"train_loss became {self.epoch_metrics['train_loss']} in epoch {self.current_epoch + 1}.",
                "lower train.optim.lr, or set train.precision to 32-true",
            )
        return self.epoch_metrics

    def _summary(self, phase: str) -> dict[str, float]:
        seen = self._seen[phase]
        if not seen:
            return {}
        counts = torch.tensor([len(targets) for _, _, targets in seen], dtype=torch.float64)
        losses = torch.stack([loss for loss, _, _ in seen]).double().cpu()
        scores = torch.cat([scores for _, scores, _ in seen]).double().cpu().numpy()
        targets = torch.cat([targets for _, _, targets in seen]).long().cpu().numpy()
        out = {f"{phase}_loss": float((losses * counts).sum() / counts.sum())}
        return out | score_split(scores, targets, self.margin, phase)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser of ``train.optim`` over all parameters, its rate changed once per epoch."""
        options, epochs = self.spec["train"]["optim"], self.spec["train"]["num_epochs"]
        optimiser = self._optimiser(options)
        schedule = LambdaLR(optimiser, lambda e: learning_rate_factor(options["policy"], e, epochs))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def _optimiser(self, options: dict[str, Any]) -> Optimizer:
        rate, decay = options["lr"], options["weight_decay"]
        parameters = self.model.parameters()
        if options["optim"] == "sgd":
            return SGD(parameters, lr=rate, momentum=options["momentum"], weight_decay=decay)
        betas = tuple(options.get("betas") or (0.9, 0.999))
        kind = AdamW if options["optim"] == "adamw" else Adam
        return kind(parameters, lr=rate, betas=betas, weight_decay=decay)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the published identity and the resolved spec: the file suffices to rebuild the network."""
        checkpoint["tao_model"] = f"visual_changenet_{self.spec['task']}"
        checkpoint["spec"] = self.spec

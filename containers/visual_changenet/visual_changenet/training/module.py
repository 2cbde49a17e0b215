"""What the Lightning modules of both tasks share: optimiser, schedule, seeds, frozen parts, checkpoint identity."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from visual_changenet.errors import RunError, SpecError
from visual_changenet.losses import build_loss
from visual_changenet.models import Network, build_model
from visual_changenet.training.distributed import share_buffers


def learning_rate_factor(policy: str, epoch: int, num_epochs: int) -> float:
    """Factor on the first learning rate in epoch ``epoch`` (from 0).

    linear: ``1 - e/(E+1)``; step: a tenth after every ``max(1, E // 3)`` epochs.
    """
    if policy == "linear":
        return 1.0 - epoch / (num_epochs + 1)
    return float(0.1 ** (epoch // max(1, num_epochs // 3)))


class ChangeModule(pl.LightningModule, ABC):
    """Network, loss and optimiser of a complete spec.

    After an epoch ``epoch_metrics`` holds the scores of its training part (``train_*``) and of its validation
    (``val_*``), the same in every process.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__()
        self.spec = spec
        self.model: Network = build_model(spec)
        self.criterion = build_loss(spec)
        self.epoch_metrics: dict[str, float] = {}
        self.last_loss: Tensor | None = None
        self.resting: list[nn.Module] = []
        self._first_bad = torch.tensor(-1)
        if spec["model"]["backbone"]["freeze_backbone"]:
            self.resting = self.model.backbone.freeze()
            self.train()  # Lightning keeps the modes that it finds

    @abstractmethod
    def judge(self, batch: Any, phase: str) -> Tensor:
        """Loss of one batch; its scores are kept for ``summary(phase)``, phase ``train`` or ``val``."""

    @abstractmethod
    def summary(self, phase: str) -> dict[str, float]:
        """Loss and scores of all batches since ``forget(phase)``, over all processes; empty without any."""

    @abstractmethod
    def validation_metrics(self) -> tuple[str, ...]:
        """Names that ``summary("val")`` can give."""

    def check_monitor(self) -> None:
        """Raises SpecError ``E_SPEC_MONITOR`` where no validation gives ``train.optim.monitor_name``."""
        wanted, known = self.spec["train"]["optim"]["monitor_name"], self.validation_metrics()
        if wanted not in known:
            raise SpecError(
                "E_SPEC_MONITOR",
                f"train.optim.monitor_name is {wanted!r}; a validation gives {', '.join(known)}.",
                f"set train.optim.monitor_name to one of them, e.g. {known[0]}",
            )

    @abstractmethod
    def forget(self, phase: str) -> None:
        """Start a new epoch of a phase."""

    def train(self, mode: bool = True) -> ChangeModule:
        """As usual, except that the frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self.resting:
            part.eval()
        return self

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Random numbers of a step follow from seed, step and process: a resumed run draws what it would have."""
        seed = self.spec["train"]["seed"]
        if seed >= 0:
            torch.manual_seed(zlib.crc32(f"{seed}|{self.global_step}|{self.global_rank}".encode()))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One batch -> scalar loss."""
        loss = self.judge(batch, "train")
        self.last_loss = loss.detach()
        bad = ~torch.isfinite(self.last_loss) & (self._first_bad.to(loss.device) < 0)
        self._first_bad = torch.where(bad, batch_idx, self._first_bad.to(loss.device))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Collects loss and scores of one batch."""
        self.judge(batch, "val")

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch, and train with the rate of this one."""
        self.epoch_metrics = {}
        self.forget("train")
        schedule = self.lr_schedulers()
        # Checkpoints are written before Lightning steps the schedule: a resumed run is one epoch behind.
        if isinstance(schedule, LambdaLR) and schedule.last_epoch != self.current_epoch:
            schedule.last_epoch = self.current_epoch - 1
            schedule.step()

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation, and judge the weights that the checkpoint will hold."""
        self.forget("val")
        share_buffers(self.model)

    def on_validation_epoch_end(self) -> None:
        """Score the validation."""
        self.epoch_metrics |= self.summary("val")

    def check_finite(self) -> None:
        """Raises RunError ``E_RUN_NONFINITE`` where the loss of a batch of this run was no finite number."""
        bad = int(self._first_bad)
        if bad >= 0:
            mixed = self.spec["train"]["precision"] != "32-true"
            fix = "set train.precision to 32-true, or lower train.optim.lr" if mixed else "lower train.optim.lr"
            where = f"batch {bad + 1} of epoch {self.current_epoch + 1}"
            raise RunError("E_RUN_NONFINITE", f"the loss became NaN or infinite in {where}.", fix)

    def close_epoch(self) -> dict[str, float]:
        """Score the training part and return all metrics of the epoch.

        Raises:
            RunError: ``E_RUN_NONFINITE``, see ``check_finite``.
        """
        self.check_finite()
        self.epoch_metrics = self.summary("train") | self.epoch_metrics
        return self.epoch_metrics

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
            return SGD(parameters, lr=rate, momentum=options["momentum"], weight_decay=decay, fused=True)
        kind = AdamW if options["optim"] == "adamw" else Adam
        return kind(parameters, lr=rate, betas=tuple(options["betas"]), weight_decay=decay, fused=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the published identity and the resolved spec: the file suffices to rebuild the network."""
        checkpoint["tao_model"] = f"visual_changenet_{self.spec['task']}"
        checkpoint["spec"] = self.spec

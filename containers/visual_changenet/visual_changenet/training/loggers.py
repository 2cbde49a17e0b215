"""TensorBoard and Weights & Biases: nothing is imported, written or sent unless the spec asks for it."""

from __future__ import annotations

import importlib.util
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from visual_changenet.errors import SpecError
from visual_changenet.session import Session
from visual_changenet.training.module import ChangeModule


def build_loggers(session: Session) -> list[Logger]:
    """Loggers of ``train.tensorboard`` and ``wandb``.

    Raises:
        SpecError: ``E_SPEC_WANDB`` where wandb is enabled and not installed.
    """
    found: list[Logger] = []
    if not session.first:
        return found
    if session.spec["train"]["tensorboard"]["enabled"]:
        found.append(TensorBoardLogger(session.results_dir, name="lightning_logs"))
    if session.spec["wandb"]["enable"]:
        found.append(_wandb(session))
    return found


def _wandb(session: Session) -> Logger:
    if importlib.util.find_spec("wandb") is None:
        raise SpecError(
            "E_SPEC_WANDB",
            "wandb.enable is true, but the package wandb is not installed.",
            "pip install wandb, or set wandb.enable to false",
        )
    from lightning.pytorch.loggers import WandbLogger

    options = session.spec["wandb"]
    return WandbLogger(
        save_dir=session.results_dir,
        project=options["project"],
        entity=options["entity"] or None,
        group=options["group"] or None,
        name=options["name"],
        tags=options["tags"],
        id=options["run_id"] or None,
        reinit=options["reinit"],
        save_code=options["save_code"],
        sync_tensorboard=options["sync_tensorboard"],
        config=session.spec,
    )


class LogWriter(pl.Callback):
    """The first pair and a histogram per parameter for TensorBoard, every ``infrequent_logging_frequency`` epochs.

    It runs in the first process only and must not wait for the others; scores are written by ``Recorder``.
    """

    def __init__(self, loggers: list[Logger], every: int) -> None:
        self.loggers = loggers
        self.every = every

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The first pair of an epoch, as the network sees it."""
        if batch_idx or not self._due(trainer):
            return
        assert isinstance(pl_module, ChangeModule)
        names = ("golden", "compare") if pl_module.spec["task"] == "segment" else ("compare", "golden")
        for board in self._boards():
            for name, images in zip(names, batch[:2], strict=True):
                several = images[0] if images.dim() == 5 else images[:1]
                for index, image in enumerate(several):
                    tag = f"image/{name}_sample" + (str(index) if len(several) > 1 else "")
                    board.add_image(tag, _visible(image), trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Histograms of the epoch that ends."""
        if self._due(trainer):
            for board in self._boards():
                for name, parameter in pl_module.named_parameters():
                    board.add_histogram(f"histogram/{name}", parameter.detach().float().cpu(), trainer.current_epoch)

    def _due(self, trainer: pl.Trainer) -> bool:
        return self.every > 0 and trainer.current_epoch % self.every == 0

    def _boards(self) -> list[Any]:
        return [logger.experiment for logger in self.loggers if isinstance(logger, TensorBoardLogger)]


def _visible(image: torch.Tensor) -> torch.Tensor:
    """A normalised image (3, H, W) stretched to 0..1."""
    image = image.detach().float().cpu()
    low, high = image.amin(), image.amax()
    return (image - low) / (high - low).clamp(min=1e-6)

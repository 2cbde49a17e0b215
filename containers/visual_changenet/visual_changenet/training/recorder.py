"""The callback that turns training into events, status lines and checkpoint files, and ends it cleanly."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from visual_changenet.checkpoints import checkpoint_name, link_latest
from visual_changenet.console import say_if_terminal
from visual_changenet.events import Progress
from visual_changenet.session import Session, sha256_of
from visual_changenet.training.module import ClassifyModule


def better(metrics: dict[str, float], than: dict[str, float] | None) -> bool:
    """True where val_ap is higher or, at the same val_ap, val_loss is lower. Without a validation nothing is better."""
    if "val_loss" not in metrics:
        return False
    return than is None or _rank(metrics) > _rank(than)


def _rank(metrics: dict[str, float]) -> tuple[float, float]:
    return metrics.get("val_ap", -math.inf), -metrics.get("val_loss", math.inf)


class Recorder(Checkpoint):
    """Runs after all other hooks of an epoch (Lightning orders ``Checkpoint`` callbacks last)."""

    def __init__(self, session: Session) -> None:
        self.session = session
        options = session.spec["train"]
        self.interval: int = options["checkpoint_interval"]
        self.by_step: bool = options["checkpoint_interval_unit"] == "step"
        minutes = options.get("max_minutes")
        self.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.num_epochs: int = options["num_epochs"]
        self.rate = 0.0
        self.epoch_started = 0.0
        self.cut_short = False
        self.kept_as_best = ""
        self._progress: dict[str, Progress] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning has installed its signal handlers by now; ours must win."""
        self.session.catch_signals()
        self.session.status.write("STARTED", "Starting Training Loop.")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the time and the rate this epoch trains with."""
        self.rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.epoch_started = time.monotonic()
        self._progress["train"] = self._new_progress(trainer, "train", int(trainer.num_training_batches))

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting the validation's batches."""
        self._progress["validate"] = self._new_progress(trainer, "validate", int(sum(trainer.num_val_batches)))

    def _new_progress(self, trainer: pl.Trainer, phase: str, steps: int) -> Progress:
        epoch = trainer.current_epoch + 1
        return Progress(self.session.events, phase, steps, epoch=epoch, num_epochs=self.num_epochs)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Progress, checkpoints by step, and the two reasons to stop early."""
        assert isinstance(pl_module, ClassifyModule)
        progress = self._progress["train"]
        due = progress.due(batch_idx + 1) and pl_module.last_loss is not None
        loss = float(pl_module.last_loss) if due and pl_module.last_loss is not None else None
        progress.update(batch_idx + 1, len(batch[2]), loss)
        if self.by_step and trainer.global_step % self.interval == 0:
            self.save(trainer, {})
        if self.session.interrupted or time.monotonic() > self.deadline:
            self.cut_short = True
            trainer.should_stop = True
        if self.session.interrupted:
            # A person waits: the validation that Lightning would still run is left out.
            trainer.limit_val_batches = 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Progress of the validation."""
        self._progress["validate"].update(batch_idx + 1, len(batch[2]))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch and keep its checkpoint where it is worth keeping."""
        assert isinstance(pl_module, ClassifyModule)
        metrics = pl_module.close_epoch()
        epoch, seconds = trainer.current_epoch + 1, time.monotonic() - self.epoch_started
        self.session.events.emit("epoch", epoch=epoch, metrics=metrics, lr=self.rate, seconds=round(seconds, 3))
        self._status_lines(trainer, metrics, seconds)
        shown = " ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        say_if_terminal(f"epoch {epoch}/{self.num_epochs} {shown} ({seconds:.1f} s)")
        self.keep(trainer, metrics)

    def _status_lines(self, trainer: pl.Trainer, metrics: dict[str, float], seconds: float) -> None:
        status = self.session.status
        validation = {name: value for name, value in metrics.items() if name.startswith("val_")}
        if validation:
            status.write("RUNNING", "Eval metrics generated.", kpi=validation)
        data = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "max_epoch": self.num_epochs - 1,
            "time_per_epoch": _clock(seconds),
            "eta": _clock(seconds * (self.num_epochs - trainer.current_epoch - 1)),
        }
        status.write("RUNNING", "Training loop in progress", data=data)
        status.write("RUNNING", "Train metrics generated.", kpi=metrics)

    def keep(self, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
        """Save the epoch that ends where the interval says so, and where it is the last or the best so far."""
        epoch = trainer.current_epoch + 1
        last = epoch >= self.num_epochs or trainer.should_stop
        due = last or (not self.by_step and epoch % self.interval == 0)
        best = next((entry["metrics"] for entry in self.session.checkpoints if entry["best"]), None)
        if due or better(metrics, best):
            self.save(trainer, metrics)
            self._drop_superseded(due)

    def save(self, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
        """Write a checkpoint of now, move the ``latest`` link and list the file in the result."""
        path = self.session.results_dir / checkpoint_name(trainer.current_epoch, trainer.global_step)
        trainer.save_checkpoint(path)
        link_latest(path, self.session.spec["task"])
        self._list(path, trainer.current_epoch, trainer.global_step, metrics)
        name = self.session.relative(path)
        self.session.events.emit(
            "checkpoint", path=name, epoch=trainer.current_epoch, step=trainer.global_step, metrics=metrics
        )

    def _drop_superseded(self, due: bool) -> None:
        """A checkpoint that was written only because it was the best goes when a better one is there."""
        known = self.session.checkpoints
        spare = next((entry for entry in known if entry["path"] == self.kept_as_best), None)
        if spare is not None and not spare["best"]:
            known.remove(spare)
            (self.session.run_dir.resolve() / spare["path"]).unlink(missing_ok=True)
            self.kept_as_best = ""
        if not due:
            self.kept_as_best = known[-1]["path"]

    def _list(self, path: Path, epoch: int, step: int, metrics: dict[str, float]) -> None:
        name, known = self.session.relative(path), self.session.checkpoints
        known[:] = [entry for entry in known if entry["path"] != name]
        best = max((e for e in known if e["best"]), key=lambda e: e["epoch"], default=None)
        is_best = better(metrics, best["metrics"] if best else None)
        for entry in known:
            entry["last"] = False
            entry["best"] = entry["best"] and not is_best
        known.append(
            {
                "path": name,
                "epoch": epoch,
                "step": step,
                "metrics": dict(metrics),
                "sha256": sha256_of(path),
                "best": is_best,
                "last": True,
            }
        )


def _clock(seconds: float) -> str:
    """H:MM:SS.ffffff, as in published status files."""
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02d}:{rest:09.6f}"

"""The callback that turns training into events, status lines and checkpoint files, and ends it cleanly."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from visual_changenet.checkpoints import checkpoint_name, link_latest
from visual_changenet.console import say
from visual_changenet.events import Progress
from visual_changenet.session import Session, sha256_of
from visual_changenet.training.distributed import any_process
from visual_changenet.training.module import ChangeModule
from visual_changenet.training.resume import StartPoint

STATUS_METRICS = ("loss", "acc", "fpr", "ap", "miou", "mf1", "mprecision", "mrecall")


class Recorder(Checkpoint):
    """Runs after all other hooks of an epoch (Lightning orders ``Checkpoint`` callbacks last).

    The best checkpoint is the one with the best ``train.optim.monitor_name``: the lowest of a loss or a false
    positive rate, the highest of anything else. Every process keeps the same list; only the first one writes.
    """

    def __init__(self, session: Session, start: StartPoint | None = None) -> None:
        self.session = session
        self.start = start or StartPoint()
        options = session.spec["train"]
        self.monitor: str = options["optim"]["monitor_name"]
        self.interval: int = options["checkpoint_interval"]
        self.by_step: bool = options["checkpoint_interval_unit"] == "step"
        minutes = options.get("max_minutes")
        self.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.num_epochs: int = options["num_epochs"]
        self.rate = 0.0
        self.epoch_started = time.monotonic()
        self.cut_short = False
        self.saved_within_epoch = False
        self.kept_as_best = ""
        self._progress: dict[str, Progress] = {}
        self._mark_best()

    def _mark_best(self) -> None:
        """Among the checkpoints of earlier runs in this folder."""
        best: dict[str, Any] | None = None
        for entry in sorted(self.session.checkpoints, key=lambda entry: entry["step"]):
            if self.better(entry["metrics"], best["metrics"] if best else None):
                best = entry
        if best is not None:
            best["best"] = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning has installed its signal handlers by now; ours must win."""
        self.session.catch_signals()
        self.session.status.write("STARTED", "Starting Training Loop.")
        # Lightning starts no epoch where a run goes on within one.
        self._begin_epoch(trainer, self.start.batches)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the time and the rate this epoch trains with."""
        self._begin_epoch(trainer)

    def _begin_epoch(self, trainer: pl.Trainer, done: int = 0) -> None:
        self.epoch_started = time.monotonic()
        self._progress["train"] = self._new_progress(trainer, "train", int(trainer.num_training_batches), done)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting the validation's batches."""
        self._progress["validate"] = self._new_progress(trainer, "validate", int(sum(trainer.num_val_batches)))

    def _new_progress(self, trainer: pl.Trainer, phase: str, steps: int, done: int = 0) -> Progress:
        epoch = trainer.current_epoch + 1
        return Progress(self.session.events, phase, steps, epoch=epoch, num_epochs=self.num_epochs, done=done)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The rate of this epoch, set by now."""
        self.rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Progress, checkpoints by step, and the two reasons to stop early."""
        assert isinstance(pl_module, ChangeModule)
        progress = self._progress["train"]
        due = progress.due(batch_idx + 1) and pl_module.last_loss is not None
        if due:
            pl_module.check_finite()
        loss = float(pl_module.last_loss) if due and pl_module.last_loss is not None else None
        progress.update(batch_idx + 1, len(batch[0]) * trainer.world_size, loss)
        if self.by_step and trainer.global_step % self.interval == 0:
            pl_module.check_finite()
            self.save(trainer, {})
        late = time.monotonic() > self.deadline
        if any_process(self.session.interrupted or late, pl_module.device):
            self._stop(trainer, pl_module)

    def _stop(self, trainer: pl.Trainer, module: ChangeModule) -> None:
        """Save where training stands, within the epoch, and end it; a person who waits is spared the validation."""
        self.cut_short = True
        trainer.should_stop = True
        if any_process(self.session.interrupted, module.device):
            self.session.interrupted = True
            trainer.limit_val_batches = 0
        if not trainer.is_last_batch:
            module.check_finite()
            self.save(trainer, {})
            self.saved_within_epoch = True

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
        self._progress["validate"].update(batch_idx + 1, len(batch[0]) * trainer.world_size)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch and keep its checkpoint where it is worth keeping."""
        assert isinstance(pl_module, ChangeModule)
        metrics = pl_module.close_epoch()
        epoch, seconds = trainer.current_epoch + 1, time.monotonic() - self.epoch_started
        standing = {"metrics": metrics, "best": self._best_now(epoch, metrics)}
        self.session.events.emit("epoch", epoch=epoch, **standing, lr=self.rate, seconds=round(seconds, 3))
        self._status_lines(trainer, metrics, seconds)
        for logger in trainer.loggers:
            logger.log_metrics({**metrics, "lr": self.rate, "epoch": trainer.current_epoch}, step=trainer.current_epoch)
        if self.session.first:
            names = {f"{phase}_{name}" for phase in ("train", "val") for name in STATUS_METRICS}
            shown = " ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name in names)
            say(f"epoch {epoch}/{self.num_epochs} {shown} ({seconds:.1f} s)")
        self.keep(trainer, metrics)

    def _best_now(self, epoch: int, metrics: dict[str, float]) -> dict[str, Any] | None:
        """Name, value and epoch (from 1) of the best monitored value up to now; None where there is none yet."""
        entry = next((entry for entry in self.session.checkpoints if entry["best"]), None)
        if self.better(metrics, entry["metrics"] if entry else None):
            return {"name": self.monitor, "value": metrics[self.monitor], "epoch": epoch}
        if entry is None:
            return None
        return {"name": self.monitor, "value": entry["metrics"].get(self.monitor), "epoch": entry["epoch"] + 1}

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
        if self.saved_within_epoch:
            # A second file would claim that the epoch was trained to its end; only the scores are new.
            self._list(self._path(trainer), trainer.current_epoch, trainer.global_step, metrics)
            return
        epoch = trainer.current_epoch + 1
        last = epoch >= self.num_epochs or trainer.should_stop
        due = last or (not self.by_step and epoch % self.interval == 0)
        best = next((entry["metrics"] for entry in self.session.checkpoints if entry["best"]), None)
        if due or self.better(metrics, best):
            self.save(trainer, metrics)
            self._drop_superseded(due)

    def better(self, metrics: dict[str, float], than: dict[str, float] | None) -> bool:
        """True where ``metrics`` have the better monitored value; without that value nothing is better."""
        if self.monitor not in metrics:
            return False
        if than is None or self.monitor not in than:
            return True
        lower = self.monitor.endswith(("_loss", "_fpr"))
        new, old = metrics[self.monitor], than[self.monitor]
        return new < old if lower else new > old

    def save(self, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
        """Write a checkpoint of now, move the ``latest`` link and list the file in the result."""
        path = self._path(trainer)
        trainer.save_checkpoint(path)
        if self.session.first:
            link_latest(path, self.session.spec["task"])
        entry = self._list(path, trainer.current_epoch, trainer.global_step, metrics)
        self.session.events.emit("checkpoint", **{name: entry[name] for name in entry if name not in ("best", "last")})

    def _path(self, trainer: pl.Trainer) -> Path:
        return self.session.results_dir / checkpoint_name(trainer.current_epoch, trainer.global_step)

    def _drop_superseded(self, due: bool) -> None:
        """A checkpoint that was written only because it was the best goes when a better one is there."""
        known = self.session.checkpoints
        spare = next((entry for entry in known if entry["path"] == self.kept_as_best), None)
        if spare is not None and not spare["best"]:
            known.remove(spare)
            if self.session.first:
                (self.session.run_dir.resolve() / spare["path"]).unlink(missing_ok=True)
            self.kept_as_best = ""
        if not due:
            self.kept_as_best = known[-1]["path"]

    def _list(self, path: Path, epoch: int, step: int, metrics: dict[str, float]) -> dict[str, Any]:
        name, known = self.session.relative(path), self.session.checkpoints
        known[:] = [entry for entry in known if entry["path"] != name]
        best = max((e for e in known if e["best"]), key=lambda e: e["epoch"], default=None)
        is_best = self.better(metrics, best["metrics"] if best else None)
        for entry in known:
            entry["last"] = False
            entry["best"] = entry["best"] and not is_best
        known.append(
            {
                "path": name,
                "epoch": epoch,
                "step": step,
                "metrics": dict(metrics),
                "sha256": sha256_of(path) if self.session.first else "",
                "best": is_best,
                "last": True,
            }
        )
        return known[-1]


def _clock(seconds: float) -> str:
    """H:MM:SS.ffffff, as in published status files."""
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02d}:{rest:09.6f}"

"""Action train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch.utils.data import DataLoader

from visual_changenet.actions.prepare import check_rules
from visual_changenet.checkpoints import load_weights, read_checkpoint, write_checkpoint
from visual_changenet.data.loaders import eval_loader, segment_eval_loader, segment_train_loader, train_loader
from visual_changenet.data.order import EpochSampler
from visual_changenet.device import choose_device, quiet_lightning, set_threads
from visual_changenet.errors import SpecError
from visual_changenet.models.pretrained import load_backbone
from visual_changenet.session import Session
from visual_changenet.training.classify import ClassifyModule
from visual_changenet.training.failures import explained
from visual_changenet.training.hardware import build_trainer, precision_of
from visual_changenet.training.loggers import LogWriter, build_loggers
from visual_changenet.training.module import ChangeModule
from visual_changenet.training.recorder import Recorder
from visual_changenet.training.resume import KEY, StartPoint, find_start
from visual_changenet.training.segment import SegmentModule
from visual_changenet.training.speed import measure

Loader = DataLoader[Any]


class SafeCheckpointIO(TorchCheckpointIO):
    """Whole files only on writing, no code from the file on reading."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Atomic write."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read with ``weights_only``."""
        return read_checkpoint(path, KEY)


def train(session: Session) -> None:
    """Train as the session's spec says; see the callback ``Recorder`` for what is written.

    Raises:
        SpecError, MissingFileError, DataInvalidError: before the first step.
        RunError: the loss is no number any more, or memory ran out.
        CancelledError: after SIGINT or SIGTERM, when the checkpoint is written.
    """
    session.spec, notices = check_rules(session.spec, "train")
    session.save_spec()
    spec, options = session.spec, session.spec["train"]
    device, threads = choose_device(spec), set_threads(spec)
    precision = precision_of(options["precision"], device)
    session.environment |= {"torch": torch.__version__, "threads": threads, "precision": precision}
    session.start(device.type, num_epochs=options["num_epochs"])
    if precision != options["precision"]:
        notices.append(f"train.precision is {options['precision']}, which needs a GPU; {precision} is used.")
    for text in notices:
        session.notice(text)
    with quiet_lightning():
        if options["seed"] >= 0:
            pl.seed_everything(options["seed"], workers=True, verbose=False)
        start = find_start(session)
        module = build_module(session, start)
        module.check_monitor()
        recorder, trainer = _set_up(session, device, start)
        training, validation = build_loaders(session, device, trainer, start)
        session.check_interrupted()
        with explained(module, spec["dataset"][spec["task"]]["batch_size"]):
            trainer.fit(module, training, validation, ckpt_path=start.path)
    if options["measure_latency"] and not recorder.cut_short:
        session.metrics["latency_ms"] = measure(module.model.to(device), spec, device).p50_ms
    _finish(session, recorder)


def _set_up(session: Session, device: torch.device, start: StartPoint) -> tuple[Recorder, pl.Trainer]:
    options, recorder = session.spec["train"], Recorder(session, start)
    loggers = build_loggers(session)
    every = options["tensorboard"]["infrequent_logging_frequency"]
    trainer = build_trainer(
        session.spec,
        device,
        folder=session.results_dir,
        callbacks=[recorder, *([LogWriter(loggers, every)] if loggers else [])],
        loggers=loggers,
        checkpoint_io=SafeCheckpointIO(),
    )
    return recorder, trainer


def _finish(session: Session, recorder: Recorder) -> None:
    best = next((entry for entry in session.checkpoints if entry["best"]), None)
    if session.checkpoints:
        session.metrics |= session.checkpoints[-1]["metrics"]
    if best is not None:
        session.metrics |= {f"best_{name}": value for name, value in best["metrics"].items()}
    session.add_artifact(session.results_dir / "experiment.yaml", "spec")
    session.check_interrupted()
    if recorder.cut_short:
        session.notice("train.max_minutes was reached; training stopped with a checkpoint.")
    session.status.write("RUNNING", "Training loop complete.")


def build_module(session: Session, start: StartPoint) -> ChangeModule:
    """The module with the weights that the spec asks to start from; a resumed run brings its own."""
    spec = session.spec
    backbone = spec["model"]["backbone"]
    if backbone["freeze_backbone"] and not backbone["pretrained_backbone_path"]:
        raise SpecError(
            "E_SPEC_FREEZE",
            "model.backbone.freeze_backbone is true without pretrained weights.",
            "set model.backbone.pretrained_backbone_path, or freeze_backbone to false",
        )
    module = SegmentModule(spec) if spec["task"] == "segment" else ClassifyModule(spec)
    if start.content is not None and start.path is not None:
        load_weights(module.model, start.content, start.path)
        return _laid_out(module)
    if backbone["pretrained_backbone_path"]:
        session.notice(load_backbone(module.model.backbone, Path(backbone["pretrained_backbone_path"])))
    whole = spec["train"]["pretrained_model_path"]
    if whole:
        content = read_checkpoint(whole, "train.pretrained_model_path")
        for text in load_weights(module.model, content, whole, resize_positions=True):
            session.notice(text)
    return _laid_out(module)


def _laid_out(module: ChangeModule) -> ChangeModule:
    module = module.to(memory_format=torch.channels_last)
    if module.spec["train"]["compile"]:
        module.model.compile()
    return module


def build_loaders(
    session: Session, device: torch.device, trainer: pl.Trainer, start: StartPoint
) -> tuple[Loader, Loader | None]:
    """Training loader, set to where the run starts, and validation loader where the spec names validation data."""
    task, seed = session.spec["task"], session.spec["train"]["seed"]
    data = session.spec["dataset"][task]
    share: dict[str, Any] = {"pin": device.type == "cuda", "rank": trainer.global_rank, "world": trainer.world_size}
    make = segment_train_loader if task == "segment" else train_loader
    training: Loader = make(data, seed, devices=trainer.world_size, **share)
    assert isinstance(training.sampler, EpochSampler)
    training.sampler.resume_at(start.epoch, start.batches * data["batch_size"])
    key = "validation_split" if task == "segment" else "validation_dataset.csv_path"
    given = data["validation_split"] if task == "segment" else data["validation_dataset"]["csv_path"]
    if not given:
        session.notice(f"dataset.{task}.{key} is not given: no validation, no best checkpoint.")
        return training, None
    judge = segment_eval_loader if task == "segment" else eval_loader
    validation: Loader = judge(data, "validation", seed=seed, **share)
    for part in (training, validation):
        for text in getattr(part.dataset, "notices", []):
            session.notice(text)
    return training, validation

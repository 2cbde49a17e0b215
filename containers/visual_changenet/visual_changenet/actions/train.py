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
from visual_changenet.data.classify import Item
from visual_changenet.data.loaders import eval_loader, train_loader
from visual_changenet.device import choose_device, quiet_lightning, set_threads
from visual_changenet.errors import RunError, SpecError
from visual_changenet.models.pretrained import load_backbone
from visual_changenet.session import Session
from visual_changenet.training.module import ClassifyModule
from visual_changenet.training.recorder import Recorder


class SafeCheckpointIO(TorchCheckpointIO):
    """Whole files only on writing, no code from the file on reading."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Atomic write."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read with ``weights_only``."""
        return read_checkpoint(path, "train.resume_training_checkpoint_path")


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
    session.environment |= {"torch": torch.__version__, "threads": threads, "precision": options["precision"]}
    session.start(device.type, num_epochs=options["num_epochs"])
    for text in notices:
        session.notice(text)
    with quiet_lightning():
        if options["seed"] >= 0:
            pl.seed_everything(options["seed"], workers=True, verbose=False)
        module = build_module(session)
        training, validation = build_loaders(session, device)
        recorder = Recorder(session)
        trainer = build_trainer(session, device, recorder)
        session.check_interrupted()
        _fit(trainer, module, training, validation, resume_path(spec))
    _finish(session, recorder)


def _fit(
    trainer: pl.Trainer,
    module: ClassifyModule,
    training: DataLoader[Item],
    validation: DataLoader[Item] | None,
    resume: str | None,
) -> None:
    try:
        trainer.fit(module, training, validation, ckpt_path=resume)
    except torch.OutOfMemoryError as error:
        raise RunError(
            "E_RUN_MEMORY",
            "the GPU's memory is too small.",
            "lower dataset.classify.batch_size",
            retryable=True,
        ) from error


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


def build_module(session: Session) -> ClassifyModule:
    """The module with the weights that the spec asks to start from."""
    spec = session.spec
    backbone = spec["model"]["backbone"]
    if backbone["freeze_backbone"] and not backbone["pretrained_backbone_path"]:
        raise SpecError(
            "E_SPEC_FREEZE",
            "model.backbone.freeze_backbone is true without pretrained weights.",
            "set model.backbone.pretrained_backbone_path, or freeze_backbone to false",
        )
    module = ClassifyModule(spec)
    if backbone["pretrained_backbone_path"]:
        session.notice(load_backbone(module.model.backbone, Path(backbone["pretrained_backbone_path"])))
    whole = spec["train"]["pretrained_model_path"]
    if whole:
        load_weights(module.model, read_checkpoint(whole, "train.pretrained_model_path"), whole)
    return module.to(memory_format=torch.channels_last)


def build_loaders(session: Session, device: torch.device) -> tuple[DataLoader[Item], DataLoader[Item] | None]:
    """Training loader, and validation loader where the spec names a validation CSV."""
    data, options = session.spec["dataset"]["classify"], session.spec["train"]
    devices = len(device_ids(session.spec)) if device.type == "cuda" else 1
    pin = device.type == "cuda"
    training = train_loader(data, options["seed"], devices=devices, pin=pin)
    if not data["validation_dataset"]["csv_path"]:
        session.notice("dataset.classify.validation_dataset.csv_path is not given: no validation, no best checkpoint.")
        return training, None
    return training, eval_loader(data, "validation", seed=options["seed"], pin=pin)


def device_ids(spec: dict[str, Any]) -> list[int]:
    """GPU indices: ``train.gpu_ids`` where it fits ``num_gpus``, else the first ``num_gpus``."""
    ids, count = spec["train"]["gpu_ids"], spec["train"]["num_gpus"]
    return list(ids) if len(ids) == count else list(range(count))


def build_trainer(session: Session, device: torch.device, recorder: Recorder) -> pl.Trainer:
    """A Lightning trainer without output of its own."""
    options, gpu = session.spec["train"], device.type == "cuda"
    ids = device_ids(session.spec)
    several = gpu and len(ids) > 1
    return pl.Trainer(
        default_root_dir=session.results_dir,
        accelerator="gpu" if gpu else "cpu",
        devices=ids if gpu else 1,
        num_nodes=options["num_nodes"],
        strategy="ddp_find_unused_parameters_true" if several else "auto",
        sync_batchnorm=several or options["sync_batchnorm"],
        precision=options["precision"],
        min_epochs=0,
        max_epochs=options["num_epochs"],
        check_val_every_n_epoch=options["validation_interval"],
        num_sanity_val_steps=0,
        benchmark=options["cudnn"]["benchmark"],
        use_distributed_sampler=several,
        logger=_tensorboard(session),
        callbacks=[recorder],
        plugins=[SafeCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
    )


def _tensorboard(session: Session) -> Any:
    if not session.spec["train"]["tensorboard"]["enabled"]:
        return False
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(session.results_dir, name="lightning_logs")


def resume_path(spec: dict[str, Any]) -> str | None:
    """The checkpoint to continue from, checked; None for a fresh start.

    Raises:
        SpecError: ``E_SPEC_RESUME`` where the checkpoint has already trained ``num_epochs`` epochs.
    """
    path: str | None = spec["train"]["resume_training_checkpoint_path"]
    if not path:
        return None
    done = read_checkpoint(path, "train.resume_training_checkpoint_path").get("epoch", 0) + 1
    if done > spec["train"]["num_epochs"]:
        raise SpecError(
            "E_SPEC_RESUME",
            f"{path} was trained for {done} epochs, train.num_epochs is {spec['train']['num_epochs']}.",
            f"set train.num_epochs above {done}",
        )
    return path

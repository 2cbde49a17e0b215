"""How many processes train, on which devices, with which number format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy, Strategy

from visual_changenet.device import device_ids


def local_processes(device: torch.device, spec: dict[str, Any]) -> int:
    """Processes on this machine: one per GPU; on a CPU as many as ``torchrun`` started, else one."""
    if device.type == "cuda":
        return len(device_ids(spec["train"]))
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def build_trainer(
    spec: dict[str, Any],
    device: torch.device,
    *,
    folder: Path,
    callbacks: list[pl.Callback],
    loggers: list[Any],
    checkpoint_io: TorchCheckpointIO,
) -> pl.Trainer:
    """A Lightning trainer without output, samplers or sanity steps of its own."""
    options, gpu = spec["train"], device.type == "cuda"
    count = local_processes(device, spec)
    several = count * options["num_nodes"] > 1
    torch.backends.cudnn.deterministic = options["cudnn"]["deterministic"]
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="gpu" if gpu else "cpu",
        devices=device_ids(options) if gpu else count,
        num_nodes=options["num_nodes"],
        strategy=_strategy(gpu) if several else "auto",
        sync_batchnorm=several and (gpu or options["sync_batchnorm"]),
        precision=precision_of(options["precision"], device),
        min_epochs=0,
        max_epochs=options["num_epochs"],
        check_val_every_n_epoch=options["validation_interval"],
        num_sanity_val_steps=0,
        benchmark=options["cudnn"]["benchmark"],
        use_distributed_sampler=False,
        logger=loggers or False,
        callbacks=callbacks,
        plugins=[checkpoint_io],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
    )


def precision_of(wanted: str, device: torch.device) -> Any:
    """float16 needs a GPU: a CPU takes bfloat16 in its place."""
    return "bf16-mixed" if wanted == "16-mixed" and device.type == "cpu" else wanted


def _strategy(gpu: bool) -> Strategy:
    # Some published parameters never get a gradient: unused class tokens, levels beyond learnable_difference_modules.
    return DDPStrategy(process_group_backend="nccl" if gpu else "gloo", find_unused_parameters=True)

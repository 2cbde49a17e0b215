"""Where to compute, and with which number format."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import cv2
import torch

from visual_changenet.errors import SpecError

AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16, "bf16-true": torch.bfloat16}


def choose_device(spec: dict[str, Any]) -> torch.device:
    """The device of ``train.device``: auto takes a GPU where there is one.

    Raises:
        SpecError: ``E_DEVICE`` where a GPU is asked for and there is none.
    """
    wanted = spec["train"].get("device") or "auto"
    if wanted == "gpu" and not torch.cuda.is_available():
        raise SpecError("E_DEVICE", "train.device is 'gpu', but torch sees none.", "set train.device to auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def device_ids(options: dict[str, Any]) -> list[int]:
    """GPU indices of an action's section.

    Where ``num_gpus`` and ``gpu_ids`` disagree the one that names more GPUs counts: 4 and [0] give 0..3,
    1 and [0, 1] give both.
    """
    ids, count = options["gpu_ids"], options["num_gpus"]
    return list(ids) if len(ids) >= count else list(range(count))


def set_threads(spec: dict[str, Any]) -> int:
    """Apply ``train.threads`` to torch; OpenCV stays single-threaded because loaders run in parallel."""
    cv2.setNumThreads(1)
    threads = spec["train"].get("threads")
    if threads:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def autocast(spec: dict[str, Any], device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision for evaluation where ``train.precision`` asks for it, else nothing."""
    dtype = AUTOCAST.get(spec["train"]["precision"])
    if dtype is None or (dtype is torch.float16 and device.type == "cpu"):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's banners and hints; our own events and notices say what matters."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
        warnings.filterwarnings("ignore", message=r".*(num_workers|pin_memory|lr_scheduler\.step|Grad strides).*")
        yield

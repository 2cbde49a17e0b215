"""Failures of a training in the user's words: what happened, and what would work."""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from typing import Any

import torch

from visual_changenet.config import ExperimentConfig
from visual_changenet.config.geometry import network_input_size
from visual_changenet.errors import RunError
from visual_changenet.training.module import ChangeModule

HEADROOM = 0.9  # share of the GPU's memory that a suggestion fills
PROBE = 2  # pairs of the step that is measured


def fitting_batch(total: int, static: int, probe_peak: int, probe: int = PROBE) -> int:
    """The largest batch that fits, at least 2: memory grows linearly with the pairs of a batch.

    Args:
        total: bytes of the device. static: bytes that weights and optimiser take. probe_peak: peak bytes of a
            step with ``probe`` pairs.
    """
    per_pair = max(1, (probe_peak - static) // probe)
    return max(2, int((total * HEADROOM - static) // per_pair))


@contextlib.contextmanager
def explained(module: ChangeModule, batch_size: int) -> Iterator[None]:
    """Turns errors of the training loop that a user can mend into ``RunError``."""
    key = f"dataset.{module.spec['task']}.batch_size"
    try:
        yield
    except torch.OutOfMemoryError as error:
        fits = _measured_fit(module, batch_size)
        raise RunError(
            "E_RUN_MEMORY",
            f"a step with {batch_size} pairs needs more memory than the GPU has.",
            f"set {key} to {fits}, or train.activation_checkpointing to true",
            retryable=True,
        ) from error
    except RuntimeError as error:
        told = _known_runtime_error(str(error), key, batch_size)
        if told is None:
            raise
        raise told from error


def _known_runtime_error(text: str, key: str, batch_size: int) -> RunError | None:
    if "can't allocate memory" in text or "not enough memory" in text:
        return RunError(
            "E_RUN_MEMORY",
            f"a step with {batch_size} pairs needs more memory than this machine has.",
            f"set {key} to {max(2, batch_size // 2)}",
            retryable=True,
        )
    workers = key.replace("batch_size", "workers")
    if "shared memory" in text or "Bus error" in text or "bus error" in text:
        return RunError(
            "E_RUN_SHARED_MEMORY",
            "a loader process ran out of shared memory.",
            f"give the container more shared memory (--shm-size 8g), or set {workers} to 0",
            retryable=True,
        )
    killed = re.search(r"DataLoader worker \(pid\(?s?\)? (.+?)\) (exited unexpectedly|is killed)", text)
    if killed:
        return RunError(
            "E_RUN_LOADER",
            f"the loader process {killed.group(1)} died, most often for lack of memory.",
            f"lower {workers}, or give the machine more memory",
            retryable=True,
        )
    return None


def _measured_fit(module: ChangeModule, batch_size: int) -> int:
    """Runs one small step on the device that ran out, and scales what it took."""
    device = module.device
    module.zero_grad(set_to_none=True)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    static = torch.cuda.memory_allocated(device)
    try:
        small_step(module)
    except torch.OutOfMemoryError:
        return 2
    total = torch.cuda.get_device_properties(device).total_memory
    gradients = sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
    fits = fitting_batch(total, static + gradients, torch.cuda.max_memory_allocated(device))
    return min(fits, max(2, batch_size - 1))


def small_step(module: ChangeModule) -> None:
    """A training step of ``PROBE`` empty pairs without the optimiser."""
    spec: dict[str, Any] = module.spec
    height, width = network_input_size(ExperimentConfig.model_validate(spec))
    pairs = [torch.zeros(PROBE, 3, height, width, device=module.device) for _ in range(2)]
    if spec["task"] == "segment":
        mask = torch.zeros(PROBE, 1, height, width, dtype=torch.uint8, device=module.device)
        batch: Any = (*pairs, mask, torch.arange(PROBE))
    else:
        golden = spec["dataset"]["classify"]["num_golden"]
        second = pairs[1] if golden == 1 else pairs[1][:, None].expand(-1, golden, -1, -1, -1)
        batch = (pairs[0], second, torch.zeros(PROBE, 1, device=module.device))
    precision = module.trainer.precision_plugin
    with precision.forward_context():
        loss = module.judge(batch, "train")
    loss.backward()  # type: ignore[no-untyped-call]
    module.zero_grad(set_to_none=True)

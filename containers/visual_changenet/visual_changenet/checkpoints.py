"""Checkpoint files: names, atomic writing, safe reading."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visual_changenet.atomic import write_atomic
from visual_changenet.errors import DataInvalidError, MissingFileError

PREFIX = "model."


def checkpoint_name(epoch: int, step: int) -> str:
    """``model_epoch_EEE_step_SSSSS.pth``; the epoch counts from 0, the step is the optimiser's."""
    return f"model_epoch_{epoch:03d}_step_{step:05d}.pth"


def latest_name(task: str) -> str:
    """Name of the link to the newest checkpoint."""
    return f"changenet_model_{task}_latest.pth"


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write so that the file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda stream: torch.save(content, stream))


def link_latest(checkpoint: Path, task: str) -> None:
    """Point the ``latest`` link, relative, at a checkpoint of the same folder."""
    link = checkpoint.with_name(latest_name(task))
    temporary = link.with_name(f".{link.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(checkpoint.name)
    temporary.replace(link)


def read_checkpoint(path: str | Path | None, key: str) -> dict[str, Any]:
    """The content of a checkpoint, tensors on the CPU; no code from the file is run.

    Args:
        key: the spec key that names the file, for the message.

    Raises:
        MissingFileError: ``E_CHECKPOINT_MISSING``. DataInvalidError: ``E_CHECKPOINT_INVALID``.
    """
    if not path or not Path(path).is_file():
        raise MissingFileError(
            "E_CHECKPOINT_MISSING",
            f"{key} is {str(path or '')!r}, which is not a file.",
            f"set {key} to a .pth file",
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataInvalidError(
            "E_CHECKPOINT_INVALID",
            f"{path} can not be read as weights: {first}",
            f"set {key} to a trained .pth file",
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise DataInvalidError(
            "E_CHECKPOINT_INVALID", f"{path} has no state_dict.", f"set {key} to a checkpoint of action train"
        )
    return content


def load_weights(model: nn.Module, content: dict[str, Any], path: str | Path) -> None:
    """Strict load of the network's part of a checkpoint (keys ``model.*``).

    Raises:
        DataInvalidError: ``E_CHECKPOINT_MISMATCH`` naming the first tensor that does not fit.
    """
    weights = {k.removeprefix(PREFIX): v for k, v in content["state_dict"].items() if k.startswith(PREFIX)}
    wanted = model.state_dict()
    fix = "use the spec that the checkpoint was trained with"
    for name in sorted(wanted.keys() ^ weights.keys()):
        where = "the checkpoint" if name in wanted else "the model"
        raise DataInvalidError("E_CHECKPOINT_MISMATCH", f"{path}: {name} is missing in {where}.", fix)
    for name, tensor in wanted.items():
        if tensor.shape != weights[name].shape:
            what = f"{name} is {list(weights[name].shape)}, the model needs {list(tensor.shape)}."
            raise DataInvalidError("E_CHECKPOINT_MISMATCH", f"{path}: {what}", fix)
    model.load_state_dict(weights)

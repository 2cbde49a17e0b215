"""Checkpoint files: names, atomic writing, finding the newest, safe reading."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visual_changenet.atomic import remove_leftovers, write_atomic
from visual_changenet.errors import ChangeNetError, DataInvalidError, MissingFileError
from visual_changenet.weights.adapt import adapt
from visual_changenet.weights.files import load_plain, named_tensors, open_weights
from visual_changenet.weights.identify import identify, shapes_of

PREFIX = "model."
COMPILED = "_orig_mod."
NUMBERED = re.compile(r"model_epoch[_=](\d+)[-_]step[_=](\d+)\.(?:pth|tlt)")
# Tensors whose shape follows from the size of the network's input.
SIZED = ("decoder.classifier.0.weight", "fc1.0.weight", "decoder.position_embedding_c")
POSITIONS = "backbone.pos_embed"
FIX = "use the spec that the checkpoint was trained with"


def checkpoint_name(epoch: int, step: int) -> str:
    """``model_epoch_EEE_step_SSSSS.pth``; the epoch counts from 0, the step is the optimiser's."""
    return f"model_epoch_{epoch:03d}_step_{step:05d}.pth"


def checkpoint_number(name: str) -> tuple[int, int] | None:
    """(epoch, step) from a checkpoint's name, with ``_``, ``=`` or ``-`` between the parts; None for other names."""
    found = NUMBERED.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


def latest_name(task: str) -> str:
    """Name of the link to the newest checkpoint."""
    return f"changenet_model_{task}_latest.pth"


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write so that the file is whole or absent; what killed writers left in the folder is removed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    try:
        write_atomic(path, lambda stream: torch.save(content, stream))
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # torch complains of its own end of file and hides the full disk
            raise error.__context__ from None
        raise


def link_latest(checkpoint: Path, task: str) -> None:
    """Point the ``latest`` link, relative, at a checkpoint of the same folder; a copy where links are refused."""
    link = checkpoint.with_name(latest_name(task))
    temporary = link.with_name(f".{link.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(checkpoint.name)
    except OSError:
        shutil.copyfile(checkpoint, temporary)
    temporary.replace(link)


def newest_checkpoint(folder: Path, task: str) -> tuple[Path | None, list[str]]:
    """The newest readable checkpoint of a task in a results folder, and a notice per newer one that is not.

    First choice is the file behind ``changenet_model_<task>_latest.pth`` (a link or a copy), then the numbered
    files from the highest step down. Tensors are not read: a file cut short is found, a flipped bit is not.
    """
    notices: list[str] = []
    if not folder.is_dir():
        return None, notices
    link = folder / latest_name(task)
    numbered = [(number, path) for path in folder.iterdir() if (number := checkpoint_number(path.name))]
    numbered.sort(key=lambda pair: (pair[0][1], pair[0][0]), reverse=True)
    candidates = [link.resolve()] if link.is_symlink() or link.exists() else []
    candidates += [path for _, path in numbered if path.resolve() not in candidates]
    for path in candidates:
        reason = _unusable(path, task)
        if not reason:
            return path, notices
        notices.append(f"{path} is passed over: {reason}")
    return None, notices


def _unusable(path: Path, task: str) -> str:
    """Why a file can not be continued from; empty where it can."""
    try:
        content = read_checkpoint(path, "train.resume_training_checkpoint_path", mmap=_is_zip(path))
    except ChangeNetError as error:
        return error.message
    mark = content.get("tao_model", f"visual_changenet_{task}")
    return "" if mark == f"visual_changenet_{task}" else f"it is of {mark}, not of task {task}."


def _is_zip(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"


def read_checkpoint(path: str | Path | None, key: str, *, mmap: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, tensors on the CPU; no code from the file is run.

    Args:
        path: a torch file with ``state_dict``, or a ``.safetensors`` file.
        key: the spec key that names the file, for the message.
        mmap: leave the tensors in the file until they are used (torch files of the zip format only).

    Raises:
        MissingFileError: ``E_CHECKPOINT_MISSING``. DataInvalidError: ``E_CHECKPOINT_INVALID``,
        ``E_CHECKPOINT_UNSAFE`` or ``E_CHECKPOINT_ENCRYPTED``.
    """
    if not path or not Path(path).is_file():
        raise MissingFileError(
            "E_CHECKPOINT_MISSING",
            f"{key} is {str(path or '')!r}, which is not a file.",
            f"set {key} to a .pth file",
        )
    if Path(path).suffix == ".safetensors":
        weights = open_weights(Path(path), "E_CHECKPOINT_INVALID")
        return {"state_dict": {name: weights.read(name) for name in weights.shapes}}
    content = load_plain(Path(path), "E_CHECKPOINT_INVALID", mmap=mmap)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise DataInvalidError(
            "E_CHECKPOINT_INVALID", f"{path} has no state_dict.", f"set {key} to a checkpoint of action train"
        )
    return content


def network_tensors(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The network's part of a checkpoint, by the network's names; the loss's class weights are no part of it."""
    named = {name.replace(COMPILED, ""): tensor for name, tensor in named_tensors(content).items()}
    if any(name.startswith(PREFIX) for name in named):
        return {name.removeprefix(PREFIX): tensor for name, tensor in named.items() if name.startswith(PREFIX)}
    return {name: tensor for name, tensor in named.items() if not name.startswith("criterion.")}


def load_weights(
    model: nn.Module, content: dict[str, Any], path: str | Path, *, resize_positions: bool = False
) -> list[str]:
    """Strict load of the network's part of a checkpoint; returns notices.

    Args:
        resize_positions: fit the position codes of a NV-DINOv2 network trained at another image size (bicubic).

    Raises:
        DataInvalidError: ``E_CHECKPOINT_MISMATCH`` naming both networks and the first tensor that does not fit.
    """
    weights, wanted, notices = network_tensors(content), _plain_state(model), []
    shapes = {name: tensor.shape for name, tensor in wanted.items()}
    if resize_positions and POSITIONS in weights and weights[POSITIONS].shape != shapes.get(POSITIONS):
        before = list(weights[POSITIONS].shape)
        weights |= adapt({POSITIONS: weights[POSITIONS]}, shapes)
        notices.append(f"{path}: {POSITIONS} was resized from {before} to {list(weights[POSITIONS].shape)}.")
    if wanted.keys() != weights.keys():
        raise _other_network(wanted, weights, path)
    _check_shapes(wanted, weights, path)
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(weights[name])
    return notices


def _plain_state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name.replace(COMPILED, ""): tensor for name, tensor in model.state_dict().items()}


def _other_network(wanted: dict[str, Any], weights: dict[str, Any], path: str | Path) -> DataInvalidError:
    name = min(wanted.keys() ^ weights.keys())
    where = "the checkpoint" if name in wanted else "the model"
    theirs, ours = identify(shapes_of(weights)), identify(shapes_of(wanted))
    said, fix = f"{path}: {name} is missing in {where}.", FIX
    if not theirs.fits(ours):
        said = f"{path} is {theirs}, the spec describes {_as_spec(str(ours))} ({name} is missing in {where})."
    elif any("fc_summary" in tensor for tensor in wanted.keys() ^ weights.keys()):
        fix = f"set model.decode_head.use_summary_token to {'fc_summary' in ' '.join(weights)}"
    return DataInvalidError("E_CHECKPOINT_MISMATCH", said, fix)


def _as_spec(text: str) -> str:
    return text.replace(" checkpoint with ", " network with ")


def _check_shapes(wanted: dict[str, torch.Tensor], weights: dict[str, torch.Tensor], path: str | Path) -> None:
    wrong = [name for name, tensor in wanted.items() if tensor.shape != weights[name].shape]
    if not wrong:
        return
    name, fix = wrong[0], FIX
    theirs, ours = identify(shapes_of(weights)), identify(shapes_of(wanted))
    what = f"{path}: {name} is {list(weights[name].shape)}, the model needs {list(wanted[name].shape)}."
    if not theirs.fits(ours):
        what = f"{path} is {theirs}, the spec describes {_as_spec(str(ours))}. {what.removeprefix(f'{path}: ')}"
    elif name.startswith(SIZED):
        fix = "set dataset.classify.image_height, image_width and num_input to those of the training"
    elif name == POSITIONS:
        fix = "set the image size to that of the training, or start a training from it with train.pretrained_model_path"
    raise DataInvalidError("E_CHECKPOINT_MISMATCH", what, fix)

"""Loading published backbone weights into a backbone."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visual_changenet.errors import DataInvalidError, MissingFileError

KEY = "model.backbone.pretrained_backbone_path"
PREFIXES = (
    "backbone.",
    "model.model.backbone.",
    "model.backbone.",
    "model.encoder.",
    "model.decoder.",
    "model.",
)


def renamed(key: str) -> str | None:
    """A published key without its wrapper's prefix (first rule that fits); None where it is to be skipped."""
    if "module" in key:
        return key.split(".", 1)[-1]
    for prefix in PREFIXES:
        if key.startswith(prefix):
            return key[len(prefix) :]
    return None if key.startswith("ema_") else key


def read_backbone(path: Path) -> dict[str, Tensor]:
    """Tensors by renamed key from ``.safetensors`` or a torch file; no code from the file is run.

    Raises:
        MissingFileError: ``E_BACKBONE_MISSING``. DataInvalidError: ``E_BACKBONE_INVALID``.
    """
    if not path.is_file():
        raise MissingFileError("E_BACKBONE_MISSING", f"{KEY} is {str(path)!r}, which is not a file.", f"correct {KEY}")
    content = _read_raw(path)
    for name in ("state_dict", "model"):
        if isinstance(content.get(name), dict):
            content = content[name]
            break
    tensors = {renamed(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return {key: value for key, value in tensors.items() if key is not None}


def _read_raw(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataInvalidError(
            "E_BACKBONE_INVALID",
            f"{path} can not be read as weights: {first}",
            "convert the file to .safetensors, or save only its tensors",
        ) from error
    if not isinstance(content, dict):
        raise DataInvalidError("E_BACKBONE_INVALID", f"{path} holds no named tensors.", f"correct {KEY}")
    return content


def load_backbone(backbone: nn.Module, path: Path) -> str:
    """Copy all tensors that fit by name; returns one sentence on what was and was not loaded.

    Raises:
        DataInvalidError: ``E_BACKBONE_MISMATCH`` where no name matches, or a shape differs.
    """
    found, wanted = read_backbone(path), backbone.state_dict()
    shared = [name for name in wanted if name in found]
    if not shared:
        raise DataInvalidError(
            "E_BACKBONE_MISMATCH",
            f"{path}: none of its {len(found)} tensors has a name of this backbone.",
            "choose weights of model.backbone.type, or correct the type",
        )
    for name in shared:
        if wanted[name].shape != found[name].shape:
            what = f"{name} is {list(found[name].shape)}, the backbone needs {list(wanted[name].shape)}."
            raise DataInvalidError("E_BACKBONE_MISMATCH", f"{path}: {what}", "choose weights of model.backbone.type")
    backbone.load_state_dict({name: found[name] for name in shared}, strict=False)
    ignored = len(found) - len(shared)
    return f"{path}: loaded {len(shared)} of the backbone's {len(wanted)} tensors, ignored {ignored}."

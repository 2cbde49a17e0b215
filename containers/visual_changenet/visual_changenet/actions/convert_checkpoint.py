"""``visual_changenet convert-checkpoint IN OUT``: a file of any pickled content to one of plain tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visual_changenet.atomic import remove_leftovers, write_atomic
from visual_changenet.console import say
from visual_changenet.errors import DataInvalidError, MissingFileError, SpecError
from visual_changenet.weights.files import named_tensors
from visual_changenet.weights.foreign import describe, rebuild
from visual_changenet.weights.identify import first_names, identify, shapes_of

KINDS = (".safetensors", ".pth")


def convert_checkpoint(source: Path, target: Path) -> None:
    """Write the tensors and plain data of ``source`` to ``target``; no code from the file is run.

    ``.pth`` keeps the layout of the file, ``.safetensors`` keeps only its state_dict. Says what was left out.

    Raises:
        MissingFileError: ``E_CHECKPOINT_MISSING``. SpecError: ``E_CONVERT_TARGET``.
        DataInvalidError: ``E_CHECKPOINT_INVALID``.
    """
    check_files(source, target, KINDS)
    found = describe(source)
    content = rebuild(source, found)
    tensors = named_tensors(content) if isinstance(content, dict) else {}
    if not tensors:
        raise DataInvalidError(
            "E_CHECKPOINT_INVALID", f"{source} holds no named tensors.", "convert a file that has a state_dict"
        )
    write_weights(content, tensors, target)
    say(f"{target}: {len(tensors)} tensors of {identify(shapes_of(tensors))}")
    if found.asked:
        say(f"left out, because they would need code from elsewhere: {first_names(found.asked)} ({len(found.asked)})")


def check_files(source: Path, target: Path, kinds: tuple[str, ...]) -> None:
    """Refuse a missing source and a target that exists, has the wrong ending or has no folder."""
    if not source.is_file():
        raise MissingFileError(
            "E_CHECKPOINT_MISSING", f"{str(source)!r} is not a file.", "name the checkpoint to convert"
        )
    if target.suffix not in kinds:
        raise SpecError("E_CONVERT_TARGET", f"{str(target)!r} does not end in {' or '.join(kinds)}.", "rename OUT")
    if target.exists():
        raise SpecError("E_CONVERT_TARGET", f"{str(target)!r} exists already.", "remove it, or choose another OUT")
    if not target.parent.is_dir():
        raise SpecError("E_CONVERT_TARGET", f"{str(target.parent)!r} is no folder.", "create it, or choose another OUT")


def write_weights(content: dict[str, Any], tensors: dict[str, Tensor], target: Path) -> None:
    """Write whole or not at all."""
    remove_leftovers(target.parent)
    if target.suffix == ".safetensors":
        from safetensors.torch import save

        plain = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        write_atomic(target, lambda stream: stream.write(save(plain, metadata={"format": "pt"})))
    else:
        write_atomic(target, lambda stream: torch.save(content, stream))

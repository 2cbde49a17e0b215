"""Reading a file of weights; nothing in it is ever run.

``.safetensors`` are read tensor by tensor, torch files with ``weights_only``.
"""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import Tensor

from visual_changenet.errors import DataInvalidError
from visual_changenet.weights.foreign import describe
from visual_changenet.weights.identify import shapes_of

# torch.load answers damaged files with any of these.
DAMAGED = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    AssertionError,
    struct.error,
)
SHOWN_CLASSES = 6


@dataclass(frozen=True)
class Weights:
    """Named tensors of a file: their shapes, and a function that reads one of them.

    ``mark`` is the file's ``tao_model``, empty where it has none.
    """

    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    mark: str = ""


def open_weights(path: Path, code: str) -> Weights:
    """Tensors of a ``.safetensors`` or torch file; containers ``state_dict`` and ``model`` are opened.

    Args:
        code: error code for a file that can not be read.

    Raises:
        DataInvalidError: ``code``, ``E_CHECKPOINT_UNSAFE`` or ``E_CHECKPOINT_ENCRYPTED``.
    """
    if path.suffix == ".safetensors":
        return _open_safetensors(path, code)
    content = load_plain(path, code)
    tensors = dict(named_tensors(content)) if isinstance(content, dict) else {}
    if not tensors:
        raise _invalid(path, code, "it holds no named tensors")
    return Weights(shapes_of(tensors), tensors.__getitem__, str(content.get("tao_model", "")))


def _open_safetensors(path: Path, code: str) -> Weights:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as source:
            shapes = {name: tuple(source.get_slice(name).get_shape()) for name in source.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, *DAMAGED) as error:
        raise _invalid(path, code, first_line(error)) from error

    def read(name: str) -> Tensor:
        with safe_open(path, framework="pt") as source:
            tensor: Tensor = source.get_tensor(name)
            return tensor

    return Weights(shapes, read)


def named_tensors(content: dict[Any, Any]) -> dict[str, Tensor]:
    """The tensors of the innermost known container of a torch file's content."""
    for name in ("state_dict", "model"):
        if isinstance(content.get(name), dict):
            return named_tensors(content[name])
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def load_plain(path: Path, code: str, *, mmap: bool = False) -> Any:
    """``torch.load`` with ``weights_only``, tensors on the CPU.

    Args:
        mmap: leave the tensors' bytes in the file until they are used.

    Raises:
        DataInvalidError: ``code``; ``E_CHECKPOINT_UNSAFE`` where the file is sound but wants classes of its own;
            ``E_CHECKPOINT_ENCRYPTED``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an odd pickle protocol is either read or refused
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise _unsafe_or_broken(path, code, error) from error
    except (*DAMAGED, MemoryError, OSError) as error:
        raise _invalid(path, code, first_line(error)) from error
    if isinstance(content, dict) and content.get("state_dict_encrypted"):
        raise DataInvalidError(
            "E_CHECKPOINT_ENCRYPTED",
            f"{path} is encrypted (it has the entry state_dict_encrypted).",
            "take the unencrypted release of these weights, or decrypt the file with the tool that wrote it",
        )
    return content


def _unsafe_or_broken(path: Path, code: str, error: pickle.UnpicklingError) -> DataInvalidError:
    try:
        asked = describe(path).asked
    except DataInvalidError as broken:
        return _invalid(path, code, broken.message.partition("weights: ")[2].rstrip(".") or first_line(error))
    shown = ", ".join(asked[:SHOWN_CLASSES]) + (", ..." if len(asked) > SHOWN_CLASSES else "")
    reason = f"it asks for {shown}" if asked else "its pickle has more than plain tensors"
    return DataInvalidError(
        "E_CHECKPOINT_UNSAFE",
        f"{path} is not read, because {reason}; reading it the usual way could run code from the file.",
        f"visual_changenet convert-checkpoint {quote(str(path))} {quote(str(path.with_suffix('')) + '.converted.pth')}",
    )


def first_line(error: BaseException) -> str:
    """What the error says, in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _invalid(path: Path, code: str, reason: str) -> DataInvalidError:
    return DataInvalidError(
        code,
        f"{path} can not be read as weights: {reason}.",
        "fetch or copy the file again, or name another one",
    )

"""Files that need more than plain tensors: described by a confined process, rebuilt here from the description."""

from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from visual_changenet.errors import DataInvalidError
from visual_changenet.weights import unpickle

WALL_SECONDS = 120
DESCRIPTION_BYTES = 1 << 30
REPEATED_BYTES = 1 << 20  # a tensor may repeat its data (stride 0) up to this size


@dataclass(frozen=True)
class Description:
    """What a confined process found: see ``unpickle``."""

    tree: Any
    storages: dict[str, tuple[int, int]]
    asked: tuple[str, ...]


def describe(path: Path) -> Description:
    """Have ``path`` read by a process without network, files, environment and most of the memory.

    Raises:
        DataInvalidError: ``E_CHECKPOINT_INVALID``: damaged, endless, or no torch file.
    """
    command = [sys.executable, "-I", "-S", str(unpickle.__file__)]
    with (
        path.open("rb") as source,
        tempfile.TemporaryDirectory(prefix="visual_changenet-") as empty,
        subprocess.Popen(
            command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=empty, env={}
        ) as process,
    ):
        assert process.stdout is not None
        text = _read_limited(process, process.stdout)
    try:
        found = json.loads(text)
    except ValueError:
        found = {"error": "the process that read it was stopped (too large, or it tried something forbidden)"}
    if "error" in found:
        raise invalid(path, found["error"])
    places = {key: (int(start), int(size)) for key, (start, size) in found["storages"].items()}
    return Description(found["tree"], places, tuple(found["asked"]))


def _read_limited(process: subprocess.Popen[bytes], stream: Any) -> bytes:
    """All that the process writes, or nothing where that is too much or takes too long."""
    alarm = threading.Timer(WALL_SECONDS, process.kill)
    alarm.start()
    try:
        text: bytes = stream.read(DESCRIPTION_BYTES)
        if stream.read(1):
            process.kill()
            return b""
        return text
    finally:
        alarm.cancel()


def invalid(path: Path, reason: str) -> DataInvalidError:
    """The error for a file that no reader can make sense of."""
    return DataInvalidError(
        "E_CHECKPOINT_INVALID", f"{path} can not be read as weights: {reason}.", "fetch or copy the file again"
    )


def rebuild(path: Path, found: Description) -> Any:
    """The content of ``path``: containers, numbers, text, bytes and tensors; everything else is left out.

    Raises:
        DataInvalidError: ``E_CHECKPOINT_INVALID`` where a tensor lies outside the file.
    """
    with path.open("rb") as stream:
        total = path.stat().st_size
        if sum(size for _, size in found.storages.values()) > total:
            raise invalid(path, "its tensors are larger than the file")
        return _Rebuild(path, stream, total, found.storages).value(found.tree)


class _Rebuild:
    def __init__(self, path: Path, stream: BinaryIO, total: int, storages: dict[str, tuple[int, int]]) -> None:
        self.path, self.stream, self.total, self.storages = path, stream, total, storages
        self.buffers: dict[str, bytearray] = {}

    def value(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        ((tag, content),) = node.items()
        if tag == "x":
            return self.tensor(*content)
        if tag == "b":
            return base64.b64decode(content)
        if tag == "d":
            kept = ((key, item) for key, item in content if not isinstance(key, dict) and not _dropped(item))
            return {key: self.value(item) for key, item in kept}
        items = [self.value(item) for item in content] if tag in ("l", "t") else None
        return tuple(items) if items is not None and tag == "t" else items

    def tensor(self, key: str, dtype: str, offset: int, size: list[int], stride: list[int]) -> Tensor:
        try:
            return self._view(key, getattr(torch, dtype), offset, size, stride)
        except (ValueError, RuntimeError, TypeError) as error:
            raise invalid(self.path, f"tensor data {key!r} lies outside the file") from error

    def _view(self, key: str, kind: torch.dtype, offset: int, size: list[int], stride: list[int]) -> Tensor:
        start, count = self.storages.get(key, (0, 0))
        if min([offset, start, *size, *stride]) < 0 or start + count > self.total:
            raise ValueError("negative, or beyond the end")
        if 0 in size:
            return torch.empty(size, dtype=kind)
        reach = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
        if reach * kind.itemsize > count or math.prod(size) * kind.itemsize > max(count, REPEATED_BYTES):
            raise ValueError("more than there is")
        if key not in self.buffers:
            self.stream.seek(start)
            self.buffers[key] = bytearray(self.stream.read(count))
        whole = torch.frombuffer(self.buffers[key], dtype=kind, count=count // kind.itemsize)
        return whole.as_strided(size, stride, offset)


def _dropped(node: Any) -> bool:
    return isinstance(node, dict) and "o" in node

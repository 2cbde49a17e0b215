"""What an export is asked for, checked before any work, and the place of its file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visual_changenet.atomic import remove_leftovers
from visual_changenet.config import ExperimentConfig
from visual_changenet.config.geometry import export_size, network_input_size
from visual_changenet.errors import SpecError

OPSETS = range(16, 22)
REJECTED = ".rejected"


@dataclass(frozen=True)
class Target:
    """The file to write.

    Attributes:
        path: ends in ``.onnx``.
        opset: one of ``OPSETS``.
        batch: of a static graph; None for a dynamic one.
    """

    path: Path
    opset: int
    batch: int | None

    @property
    def rejected(self) -> Path:
        """Where a file goes that did not pass."""
        return self.path.with_name(self.path.name + REJECTED)


def check_target(spec: dict[str, Any], folder: Path) -> Target:
    """The target of a complete spec; ``folder`` holds the file where the spec does not name one.

    Raises:
        SpecError: ``E_EXPORT_FORMAT``, ``E_EXPORT_OPSET``, ``E_EXPORT_BATCH``, ``E_EXPORT_TARGET``,
            ``E_EXPORT_EXISTS``.
    """
    options = spec["export"]
    if options["format"] != "onnx":
        raise SpecError("E_EXPORT_FORMAT", f"export.format {options['format']} is not written.", "set it to onnx")
    if options["opset_version"] not in OPSETS:
        raise SpecError(
            "E_EXPORT_OPSET",
            f"export.opset_version is {options['opset_version']}, but {OPSETS[0]} to {OPSETS[-1]} are written.",
            "set export.opset_version to 17",
        )
    if options["batch_size"] == 0:
        raise SpecError("E_EXPORT_BATCH", "export.batch_size is 0.", "set it to -1 (dynamic), or to 1 or more")
    path = Path(options["onnx_file"] or folder / f"{Path(options['checkpoint'] or 'model').stem}.onnx")
    if path.suffix != ".onnx" or path.is_dir():
        raise SpecError("E_EXPORT_TARGET", f"export.onnx_file is {path}, no name of an .onnx file.", "end it in .onnx")
    if path.exists() and not options["overwrite"]:
        raise SpecError(
            "E_EXPORT_EXISTS", f"{path} exists already.", "set export.overwrite=true, or another export.onnx_file"
        )
    return Target(path, options["opset_version"], options["batch_size"] if options["batch_size"] > 0 else None)


def input_size(spec: dict[str, Any]) -> tuple[int, int]:
    """(height, width) in pixels of the network's input.

    Raises:
        SpecError: ``E_EXPORT_SIZE`` where ``export`` gives another one.
    """
    config = ExperimentConfig.model_validate(spec)
    asked, size = export_size(config), network_input_size(config)
    if asked != size:
        raise SpecError(
            "E_EXPORT_SIZE",
            f"export.input_height x input_width is {asked[0]} x {asked[1]}, but the network was trained for "
            f"{size[0]} x {size[1]} (height x width, all lights joined).",
            f"leave both out, or set export.input_height to {size[0]} and export.input_width to {size[1]}",
        )
    return size


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """A locked temporary file in the target's folder; what has not been published at the end is deleted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        with suppress(OSError):  # a file system without locks: leftovers stay, nothing else is lost
            fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Give a whole file its name, durably."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)

"""What a disk refuses, as errors that say what helps."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skillrun.errors import ConflictError, PreflightError


def refuse_existing(out: Path) -> None:
    """Raises ConflictError where the name is taken."""
    if os.path.lexists(out):
        raise ConflictError("E_BUNDLE_EXISTS", f"{out} exists already", "choose another name: --out FILE")


def require_room(folder: Path, needed: int) -> None:
    """Raises PreflightError where the folder's disk has less than ``needed`` bytes."""
    with as_writing_trouble(folder):
        free = shutil.disk_usage(folder).free
    if needed > free:
        raise disk_full(folder, f": {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")


def disk_full(folder: Path, numbers: str = "") -> PreflightError:
    return PreflightError(
        "E_BUNDLE_DISK_FULL",
        f"the disk of {str(folder)!r} has no room{numbers}",
        "free some space, or use another disk",
    )


@contextmanager
def as_writing_trouble(place: Path) -> Iterator[None]:
    """A refusal of the file system as an error with a fix."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(place) from error
        raise PreflightError(
            "E_BUNDLE_WRITE",
            f"{str(error.filename or place)!r} can not be used: {error.strerror or error}",
            "choose another folder, or change its permissions",
        ) from error

"""Writing a file so that a reader sees the old one or the whole new one, never a part."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL = re.compile(r"\..+\.\d+\.tmp")


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call ``write`` with a new binary file beside ``path``, fsync it and rename it over ``path``.

    The file is locked while it is written, so ``remove_leftovers`` of any process can tell it from what a killed
    writer left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _open_locked(temporary) as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: Path, text: str) -> None:
    """UTF-8 text with ``\\n`` line ends, written by ``write_atomic``."""
    write_atomic(path, lambda stream: stream.write(text.encode("utf-8")))


def remove_leftovers(folder: Path) -> None:
    """Delete what writers that are no longer alive left half written in a folder."""
    for path in [entry for entry in folder.iterdir() if PARTIAL.fullmatch(entry.name)]:
        with suppress(OSError), path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _open_locked(path: Path) -> BinaryIO:
    while True:
        stream = path.open("wb")
        with suppress(OSError):  # a file system without locks: leftovers stay, nothing else is lost
            fcntl.flock(stream, fcntl.LOCK_EX)
        if os.fstat(stream.fileno()).st_nlink:
            return stream
        stream.close()  # taken for a leftover between opening and locking


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)

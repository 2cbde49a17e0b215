"""Decoded pictures in a folder that several runs and their loader processes read without copying.

One file per picture: its pixels, then a trailer. The file's name is the digest of how the picture was decoded and
of the source's absolute path, size and time of change: looking these up costs a microsecond, while a digest of
the content would read every source on every start. That digest is recorded in the trailer instead, where it
tells later which content the pixels came from. Entries of changed or removed sources stay until the folder is
deleted, which is always safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from visual_changenet.data.images import Pixels
from visual_changenet.errors import DataInvalidError

MAGIC = b"vcnpix01"
DIGEST_BYTES, CHECK_BYTES = 32, 4
TRAILER_BYTES = DIGEST_BYTES + CHECK_BYTES + len(MAGIC)
# Linux allows a process 65530 maps; later pictures are mapped anew each time.
MAPS_KEPT = 20_000


class DiskCache:
    """Pictures of one shape below ``folder``.

    Args:
        folder: made if missing; may be shared by runs at the same time.
        shape: of one picture, uint8.
        recipe: all that the pixels depend on beside the source file.

    Raises:
        DataInvalidError: ``E_DATA_CACHE`` where the folder can not be made or written.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], recipe: str) -> None:
        self.folder, self.shape, self.recipe = folder, shape, recipe
        self.size = math.prod(shape)
        self._maps: dict[Path, Pixels] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refused(error.strerror) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise self._refused("it is not writable")

    def _refused(self, reason: str | None) -> DataInvalidError:
        return DataInvalidError(
            "E_DATA_CACHE",
            f"cache_dir {self.folder} can not be used: {reason}.",
            "set cache_dir to a writable folder, or to nothing",
        )

    def place(self, source: Path) -> Path:
        """The file that holds ``source`` as it is now."""
        state = source.stat()
        text = f"{self.recipe}\n{self.shape}\n{source.absolute()}\n{state.st_size}\n{state.st_mtime_ns}"
        name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        return self.folder / name[:2] / f"{name}.pixels"

    def get(self, source: Path, decode: Callable[[Path], Pixels]) -> Pixels:
        """The cached picture, read-only and mapped; decoded and stored where it is missing or damaged.

        Raises:
            DataInvalidError: from ``decode``.
        """
        found = self._maps.get(source)
        if found is not None:
            return found
        if not source.is_file():
            return decode(source)
        place = self.place(source)
        found = self._read(place)
        if found is None:
            pixels = decode(source)
            # A full disk costs time, not the run: the picture is decoded again when it is needed.
            with contextlib.suppress(OSError):
                self._write(place, pixels, source)
            found = self._read(place)
            if found is None:
                return pixels
        if len(self._maps) < MAPS_KEPT:
            self._maps[source] = found
        return found

    def _read(self, place: Path) -> Pixels | None:
        try:
            with place.open("rb") as stream:
                view = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return None
        if len(view) != self.size + TRAILER_BYTES or view[-len(MAGIC) :] != MAGIC:
            return None
        check = view[self.size + DIGEST_BYTES : self.size + DIGEST_BYTES + CHECK_BYTES]
        if zlib.crc32(memoryview(view)[: self.size]).to_bytes(CHECK_BYTES, "little") != check:
            return None
        return np.frombuffer(view, dtype=np.uint8, count=self.size).reshape(self.shape)

    def _write(self, place: Path, pixels: Pixels, source: Path) -> None:
        # Whole files by renaming, but without waiting for the disk: the check value finds what a power cut left.
        place.parent.mkdir(exist_ok=True)
        content = np.ascontiguousarray(pixels).tobytes()
        check = zlib.crc32(content).to_bytes(CHECK_BYTES, "little")
        digest = hashlib.sha256(source.read_bytes()).digest()
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".", suffix=".part", delete=False) as stream:
            part = Path(stream.name)
            try:
                stream.write(content + digest + check + MAGIC)
                stream.close()
                part.replace(place)
            except OSError:
                part.unlink(missing_ok=True)
                raise

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_maps": {}}


def disk_cache(folder: str | None, shape: tuple[int, ...], recipe: str) -> DiskCache | None:
    """The cache that ``cache_dir`` asks for; None where it is empty."""
    return DiskCache(Path(folder), shape, recipe) if folder else None

"""Decoded pictures by path, kept in memory that loader processes share, or in a folder that runs share."""

from __future__ import annotations

import math
import mmap
import multiprocessing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visual_changenet.data.cache import DiskCache
from visual_changenet.data.images import Pixels

MEMORY_LIMIT_BYTES = 1_000_000_000


class SharedSlots:
    """``count`` arrays of one shape and dtype, each empty until some process fills it.

    Anonymous shared memory: forked processes see each other's entries, pages are taken when they are
    filled, and no size of /dev/shm limits it. A pickled copy starts empty and shares with its own children.
    """

    def __init__(self, count: int, shape: tuple[int, ...], dtype: Any) -> None:
        self.count, self.shape, self.dtype = count, shape, np.dtype(dtype)
        self._allocate()

    def _allocate(self) -> None:
        size = self.count * math.prod(self.shape) * self.dtype.itemsize
        flat = np.frombuffer(mmap.mmap(-1, max(1, size)), dtype=self.dtype, count=self.count * math.prod(self.shape))
        self._values = flat.reshape(self.count, *self.shape)
        self._filled = np.frombuffer(mmap.mmap(-1, max(1, self.count)), dtype=np.uint8, count=self.count)
        self._known = bytearray(self.count)
        self._lock = multiprocessing.Lock()

    def get(self, slot: int) -> NDArray[Any] | None:
        """A read-only view, or None where the slot is empty or outside of the count."""
        if slot >= self.count:
            return None
        if not self._known[slot]:
            # Taking the lock orders memory: a filled flag is never seen before the values behind it.
            with self._lock:
                self._known[slot] = self._filled[slot]
            if not self._known[slot]:
                return None
        view: NDArray[Any] = self._values[slot]
        view.flags.writeable = False
        return view

    def put(self, slot: int, value: NDArray[Any]) -> None:
        """Fill a slot; all writers of a slot must write the same. Slots outside of the count are not kept."""
        if slot < self.count:
            self._values[slot] = value
            with self._lock:
                self._filled[slot] = 1

    def __getstate__(self) -> tuple[int, tuple[int, ...], Any]:
        return self.count, self.shape, self.dtype

    def __setstate__(self, state: tuple[int, tuple[int, ...], Any]) -> None:
        self.count, self.shape, self.dtype = state
        self._allocate()


class PixelStore:
    """Decoded pictures of one shape.

    Args:
        paths: all files that will be asked for; as many as fit into the limit are kept in memory.
        shape: of one decoded picture, uint8.
        decode: from a file to its pixels.
        cache: keeps them on disk instead; the operating system then holds what is used in memory.
        limit: bytes of memory.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        shape: tuple[int, ...],
        decode: Callable[[Path], Pixels],
        *,
        cache: DiskCache | None = None,
        limit: int = MEMORY_LIMIT_BYTES,
    ) -> None:
        self._slots = {path: slot for slot, path in enumerate(dict.fromkeys(paths))}
        self._decode, self._cache = decode, cache
        fitting = 0 if cache else min(len(self._slots), limit // math.prod(shape))
        self._memory = SharedSlots(fitting, shape, np.uint8)

    def get(self, path: Path) -> Pixels:
        """uint8 of the store's shape; treat it as read-only.

        Raises:
            DataInvalidError: the file can not be decoded.
        """
        if self._cache is not None:
            return self._cache.get(path, self._decode)
        slot = self._slots[path]
        found = self._memory.get(slot)
        if found is None:
            found = self._decode(path)
            self._memory.put(slot, found)
        return found

"""Batches of an evaluation as arrays, prepared by threads: what runs an exported model has no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[Any], ...]
AHEAD = 2  # batches that wait


class Batches:
    """Items 0 to ``count - 1`` in order, the last incomplete batch included.

    Args:
        item: from a number to what one item holds, as arrays or numbers.
        threads: that prepare items; decoding, resizing and look-ups run without Python's lock.
    """

    def __init__(self, item: Callable[[int], Sequence[Any]], count: int, size: int, threads: int) -> None:
        self.item, self.count, self.size, self.threads = item, count, size, max(threads, 1)

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def __iter__(self) -> Iterator[Arrays]:
        cv2.setNumThreads(1)
        starts = deque(range(0, self.count, self.size))
        with ThreadPoolExecutor(self.threads) as pool:
            waiting: deque[list[Future[Sequence[Any]]]] = deque()
            while starts or waiting:
                while starts and len(waiting) < AHEAD:
                    first = starts.popleft()
                    numbers = range(first, min(first + self.size, self.count))
                    waiting.append([pool.submit(self.item, number) for number in numbers])
                items = [future.result() for future in waiting.popleft()]
                yield tuple(np.stack(column) for column in zip(*items, strict=True))

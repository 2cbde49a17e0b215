"""What the benchmarks share: repeated timing, and one plain table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Repeated durations of one thing, in milliseconds."""

    median: float
    low: float
    high: float

    def cells(self) -> tuple[str, str]:
        """Median, and smallest to largest, as text."""
        return f"{self.median:.1f}", f"{self.low:.1f}–{self.high:.1f}"


def measure(call: Callable[[], object], repeats: int, *, warm_up: int = 1) -> Timing:
    """Time ``call`` ``repeats`` times after ``warm_up`` calls that do not count."""
    for _ in range(warm_up):
        call()
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begin) * 1000)
    return summary(taken)


def summary(milliseconds: Sequence[float]) -> Timing:
    """Median and range of at least one duration."""
    return Timing(statistics.median(milliseconds), min(milliseconds), max(milliseconds))


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: first column to the left, all others to the right."""
    cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    print(title)
    for row in cells:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([row[0].ljust(len(first)), *others]))

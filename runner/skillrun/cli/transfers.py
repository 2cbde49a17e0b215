"""Bytes on their way: a bar with speed and remaining time on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.progress import Progress

LINE_EVERY_S = 10.0
MOVING = ("downloading", "uploading")


class Transfers:
    """Shows transfers, one after the other, each under its name (``weights``, ``image``, ...)."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._bar: Any = None
        self._shown: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, what: str, event: Progress) -> None:
        """How far a transfer is."""
        if sys.stderr.isatty():
            self._draw(what, event)
        else:
            lines = self._shown.setdefault(what, _Lines(self._output, what))
            lines.show(event)

    def _draw(self, what: str, event: Progress) -> None:
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
        if what not in self._shown:
            self._shown[what] = self._bar.add_task(what, total=None)
        text = f"{what}: {event.phase}"
        self._bar.update(self._shown[what], description=text, completed=event.done, total=event.total or None)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Bar(*columns, console=Console(stderr=True), transient=True)


class _Lines:
    """One transfer as lines, for a log."""

    def __init__(self, output: Output, what: str) -> None:
        self._output, self._what = output, what
        self._told: set[str] = set(MOVING)
        self._at, self._done = time.monotonic(), -1

    def show(self, event: Progress) -> None:
        """A line where the last is 10 s old, and one for every new thing that is done or waited for."""
        now = time.monotonic()
        if self._done < 0:
            self._done = event.done
        if event.phase not in self._told or now - self._at >= LINE_EVERY_S:
            self._output.say(f"{self._what}: {event.phase}{self._numbers(event, now - self._at)}")
            self._at, self._done = now, event.done
        self._told.add(event.phase)

    def _numbers(self, event: Progress, seconds: float) -> str:
        if not event.total:
            return ""
        speed = max(0, event.done - self._done) / max(seconds, 1e-3)
        left = f", {(event.total - event.done) / speed:.0f} s left" if speed else ""
        return f" {event.done / 1e6:.0f} of {event.total / 1e6:.0f} MB, {speed / 1e6:.1f} MB/s{left}"

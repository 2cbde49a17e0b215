"""What a launch tells while it waits: notes as lines, the download of an image as a bar, or a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.images import PullProgress

LINE_EVERY_S = 10.0


class LaunchTalk:
    """A `skillrun.backends.Talk` on stderr."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._bar: Any = None
        self._task: Any = None
        self._last_line = time.monotonic()

    def __enter__(self) -> LaunchTalk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line of talk."""
        self._output.say(text)

    def pulled(self, progress: PullProgress) -> None:
        """How far the download of the image is."""
        if sys.stderr.isatty():
            self._draw(progress)
        elif time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            share = f"{progress.done / 2**20:.0f} of {progress.total / 2**20:.0f} MiB"
            self._output.say(f"image: {progress.phase} {share}, {progress.layers_done} of {progress.layers} layers")

    def _draw(self, progress: PullProgress) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
            from rich.progress import TransferSpeedColumn as Speed

            columns = (
                TextColumn("image: {task.description}"),
                BarColumn(),
                DownloadColumn(),
                Speed(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(progress.phase, total=None)
        self._bar.update(self._task, description=progress.phase, completed=progress.done, total=progress.total or None)

"""A run's events as a live bar (terminal) or as a line now and then (anything else)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from skillrun.cli.outcome import epoch_metrics
from skillrun.cli.output import Output

LINE_EVERY_S = 30.0


class RunProgress:
    """Shows events until they end. On a terminal: one bar per phase, with loss, metric, speed and time left."""

    def __init__(self, output: Output, *, live: bool | None = None) -> None:
        self._output = output
        self._live = sys.stderr.isatty() if live is None else live
        self._bar: Any = None
        self._task: Any = None
        self._last_line = time.monotonic()

    def __enter__(self) -> RunProgress:
        if self._live:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None, numbers="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show_all(self, events: Iterable[dict[str, Any]]) -> None:
        """Show every event; returns when the stream ends."""
        for event in events:
            self.show(event)

    def show(self, event: dict[str, Any]) -> None:
        """Show one event."""
        match event.get("event"):
            case "progress":
                self._progress(event)
            case "epoch":
                self._say(epoch_line(event))
            case "notice":
                self._say(f"note: {event.get('message', '')}")
            case _:
                pass

    def _progress(self, event: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task,
                description=_phase(event),
                completed=int(event.get("step") or 0),
                total=int(event.get("steps") or 0) or None,
                numbers=_numbers(event),
            )
        elif time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._say(f"{_phase(event)} {event.get('step')}/{event.get('steps')} {_numbers(event)}".rstrip())

    def _say(self, text: str) -> None:
        self._last_line = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            self._output.say(text)


def epoch_line(event: dict[str, Any]) -> str:
    """One line per epoch: its metrics, the learning rate and the time it took."""
    shown = "  ".join(f"{name} {value:.4g}" for name, value in epoch_metrics(event.get("metrics") or {}))
    rate = f"lr {event['lr']:.2g}  " if isinstance(event.get("lr"), int | float) else ""
    return f"epoch {event.get('epoch')}  {shown}  {rate}({float(event.get('seconds') or 0):.0f} s)"


def _phase(event: dict[str, Any]) -> str:
    phase = str(event.get("phase") or "")
    return f"{phase} epoch {event['epoch']}/{event.get('num_epochs')}" if event.get("num_epochs") else phase


def _numbers(event: dict[str, Any]) -> str:
    parts = []
    if isinstance(event.get("loss"), int | float):
        parts.append(f"loss {event['loss']:.4f}")
    if isinstance(event.get("pairs_per_s"), int | float):
        parts.append(f"{event['pairs_per_s']:.0f} pairs/s")
    if isinstance(event.get("eta_s"), int | float):
        parts.append(f"{int(event['eta_s']) // 60}:{int(event['eta_s']) % 60:02d} left in all")
    return "  ".join(parts)

"""A run's events as a live view (terminal) or as a line now and then (anything else)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from skillrun.cli.outcome import epoch_metrics
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.cli.screen import Screen

LINE_EVERY_S = 30.0


@dataclass
class Standing:
    """How far a run is: what its last events said.

    Attributes:
        epochs: of the whole training; 0 or 1 where there are no epochs.
        step, steps: of this phase of this epoch; ``steps`` is 0 where nobody has said it.
        watched: name and last value of the metric that the best checkpoint is chosen by.
        best: its best value and the epoch of that.
        memory_mb, gpu_memory_mb: peaks of the process, in 1e6 bytes.
    """

    phase: str = "starting"
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    watched: tuple[str, float] | None = None
    best: tuple[float, int] | None = None
    pairs_per_s: float | None = None
    eta_s: float | None = None
    memory_mb: float | None = None
    gpu_memory_mb: float | None = None

    def take(self, event: dict[str, Any]) -> None:
        """Take in a ``progress`` or an ``epoch`` event; others, and values of another kind, are passed over."""
        if event.get("event") == "progress":
            self.phase = str(event.get("phase") or "")
            for name in ("epoch", "step", "steps"):
                setattr(self, name, int(_number(event.get(name)) or 0))
            self.epochs = int(_number(event.get("num_epochs")) or 0)
            self.pairs_per_s, self.eta_s = _number(event.get("pairs_per_s")), _number(event.get("eta_s"))
            for name in ("loss", "memory_mb", "gpu_memory_mb"):  # a validation has no loss of its own
                if (value := _number(event.get(name))) is not None:
                    setattr(self, name, value)
        elif event.get("event") == "epoch":
            self._take_epoch(event)

    def _take_epoch(self, event: dict[str, Any]) -> None:
        metrics, best = event.get("metrics") or {}, event.get("best") or {}
        name, value = str(best.get("name") or ""), _number(best.get("value"))
        if name and value is not None:
            self.best = value, int(_number(best.get("epoch")) or 0)
            now = _number(metrics.get(name))
            self.watched = (name, now) if now is not None else self.watched
        else:
            validated = ((name, value) for name, value in epoch_metrics(metrics) if name.startswith("val_"))
            self.watched = next(validated, self.watched)

    @property
    def where(self) -> str:
        """Phase and epoch in words."""
        return f"{self.phase} epoch {self.epoch}/{self.epochs}" if self.epochs else self.phase

    @property
    def share(self) -> float:
        """How much of all epochs is done, 0..1."""
        inside = 1.0 if self.phase == "validate" else self.step / self.steps if self.steps else 0.0
        return min((max(self.epoch - 1, 0) + inside) / max(self.epochs, 1), 1.0)

    def numbers(self) -> list[str]:
        """Loss, metric and best, speed, memory and time left, as far as they are known."""
        parts = [] if self.loss is None else [f"loss {self.loss:.4f}"]
        if self.watched:
            parts.append(f"{self.watched[0]} {self.watched[1]:.4g}")
        if self.best:
            parts.append(f"best {self.best[0]:.4g} (epoch {self.best[1]})")
        if self.pairs_per_s is not None:
            parts.append(f"{self.pairs_per_s:.0f} pairs/s")
        for label, megabytes in (("memory", self.memory_mb), ("GPU", self.gpu_memory_mb)):
            if megabytes:
                parts.append(f"{label} {megabytes / 1000:.1f} GB")
        if self.eta_s is not None:
            parts.append(f"{_clock(self.eta_s)} left in all")
        return parts

    def line(self) -> str:
        """All of it in one line."""
        steps = f"{self.step}/{self.steps or '?'} " if self.step else ""
        return f"{self.where} {steps}{'  '.join(self.numbers())}".rstrip()


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _clock(seconds: float) -> str:
    """``3:05``, from an hour on ``2:03:05``."""
    minutes, rest = divmod(max(int(seconds), 0), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def on_screen() -> bool:
    """Whether stderr is a terminal on which lines can be drawn again."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")


class RunProgress:
    """Shows events until they end. On a terminal: bars of epochs and steps with the numbers of now below them."""

    def __init__(self, output: Output, *, live: bool | None = None) -> None:
        self._output = output
        self._live = on_screen() if live is None else live
        self._screen: Screen | None = None
        self._standing = Standing()
        self._last_line = time.monotonic()

    def __enter__(self) -> RunProgress:
        if self._live:
            from skillrun.cli.screen import Screen

            self._screen = Screen(self._standing)
            self._screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._screen is not None:
            self._screen.stop()

    def show_all(self, events: Iterable[dict[str, Any]]) -> None:
        """Show every event; returns when the stream ends."""
        for event in events:
            self.show(event)

    def show(self, event: dict[str, Any]) -> None:
        """Show one event."""
        self._standing.take(event)
        match event.get("event"):
            case "progress":
                self.wait()
            case "epoch":
                self._say(epoch_line(event))
            case "notice":
                self._say(f"note: {event.get('message', '')}")
            case _:
                pass

    def wait(self) -> None:
        """Say how far the run is where nothing was said for long; to be called also while no event comes."""
        if self._screen is None and time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._say(self._standing.line())

    def _say(self, text: str) -> None:
        self._last_line = time.monotonic()
        if self._screen is not None:
            self._screen.print(text)
        else:
            self._output.say(text)


def epoch_line(event: dict[str, Any]) -> str:
    """One line per epoch: its metrics, the learning rate and the time it took."""
    shown = "  ".join(f"{name} {value:.4g}" for name, value in epoch_metrics(event.get("metrics") or {}))
    rate = f"lr {event['lr']:.2g}  " if isinstance(event.get("lr"), int | float) else ""
    return f"epoch {event.get('epoch')}  {shown}  {rate}({float(event.get('seconds') or 0):.0f} s)"

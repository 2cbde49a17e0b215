"""events.jsonl: what happens while it happens, one JSON object per line."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from visual_changenet.memory import peak_memory

PROGRESS_GAP_S = 0.5


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def finite(value: Any) -> Any:
    """The value with NaN and infinities as None, because JSON has neither."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class EventLog:
    """Appends events; each line is flushed, so a reader may follow the file. Without a path nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def emit(self, event: str, **fields: Any) -> None:
        """Append one event with the current time."""
        if self.path is None:
            return
        record = {"time": now(), "event": event, **finite(fields)}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


class Progress:
    """Progress events of one phase: at most two per second, and the last one always."""

    def __init__(
        self, log: EventLog, phase: str, steps: int, *, epoch: int = 1, num_epochs: int = 1, done: int = 0
    ) -> None:
        self.log, self.phase, self.steps = log, phase, steps
        self.done = done
        self.epoch, self.num_epochs = epoch, num_epochs
        self.started = time.monotonic()
        self.pairs = 0
        self._last = 0.0

    def due(self, step: int) -> bool:
        """True where an event for this 1-based step would be written."""
        return step >= self.steps or time.monotonic() - self._last >= PROGRESS_GAP_S

    def update(self, step: int, pairs: int, loss: float | None = None) -> None:
        """Count ``pairs`` more pairs as done; write an event, with speed, time left and memory, where one is due."""
        self.pairs += pairs
        if not self.due(step):
            return
        self._last = time.monotonic()
        passed = max(self._last - self.started, 1e-9)
        left = self.steps - step + self.steps * (self.num_epochs - self.epoch)
        self.log.emit(
            "progress",
            phase=self.phase,
            epoch=self.epoch,
            num_epochs=self.num_epochs,
            step=step,
            steps=self.steps,
            loss=loss,
            pairs_per_s=round(self.pairs / passed, 3),
            eta_s=round(passed / max(step - self.done, 1) * left, 1),
            **peak_memory(),
        )

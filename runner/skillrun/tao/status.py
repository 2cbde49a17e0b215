"""``status.json`` of the published container, read as events.

One JSON object per line, appended, also by a run that goes on in the same folder. ``kpi`` sticks: it is repeated on
later lines, so only the lines that announce new numbers are believed. Its last line is no proof of success.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["open", "finished", "failed", "interrupted"]

_STARTING = re.compile(r"Starting Visual ChangeNet (\w+)")
_FINISHED = re.compile(r"\w+ finished successfully")
_INTERRUPTED = re.compile(r"interruption|was interrupted")
# The lines of one epoch.
_EPOCH_LINES = {
    "validated": "Eval metrics generated",
    "counted": "Training loop in progress",
    "trained": "Train metrics generated",
}
_DURATION = re.compile(r"(?:(\d+) days?, )?(\d+):(\d+):(\d+(?:\.\d+)?)")
_DATE = re.compile(r"(\d+)/(\d+)/(\d{4})")
_TIME = re.compile(r"(\d+):(\d+):(\d+)")


@dataclass(frozen=True)
class StatusSummary:
    """What a whole status file says of the last run in it.

    Attributes:
        epochs: metrics by epoch, counted from 0 as in checkpoint names, of all runs in the file.
        tested: numbers of an evaluation, empty elsewhere.
        outcome: ``open`` where no line says how it ended.
        message: of the line that says so.
    """

    epochs: dict[int, dict[str, float]] = field(default_factory=dict)
    tested: dict[str, float] = field(default_factory=dict)
    outcome: Outcome = "open"
    message: str = ""


def read_status(
    path: Path, offset: int = 0, *, ended: bool = False, zone: tzinfo = UTC
) -> tuple[list[dict[str, Any]], int]:
    """Events of the new whole lines after a byte offset, and the offset for the next call.

    The lines of an epoch become one event when all of them are there; until then the offset stays before them.
    There is no ``end`` event: how a run ended is decided by its result.

    Args:
        path: the file; absent is like empty.
        offset: what the last call returned. A file that is shorter, or was replaced, is read from its start.
        ended: the container is gone: nothing is held back any more.
        zone: of the container's clock; containers run in UTC unless ``TZ`` is set.
    """
    data, offset = _from_offset(path, offset)
    if not ended:
        data = data[: data.rfind(b"\n") + 1]
    reader = _Reader(zone)
    for line in data.split(b"\n"):
        record = _record(line)
        if record is not None:
            reader.read(record, offset)
        offset += len(line) + 1
    offset -= 1  # behind the last newline there is no line
    if ended:
        reader.flush()
    return reader.events, offset if reader.held_at is None else reader.held_at


def summarise(path: Path) -> StatusSummary:
    """How the last run in a status file went."""
    epochs: dict[int, dict[str, float]] = {}
    for event in read_status(path, ended=True)[0]:
        if event["event"] == "epoch":
            epochs.setdefault(event["epoch"] - 1, {}).update(event["metrics"])
    tested: dict[str, float] = {}
    outcome: Outcome = "open"
    message = ""
    for record in filter(None, map(_record, _from_offset(path, 0)[0].splitlines())):
        text = _message(record)
        if _STARTING.match(text):
            tested, outcome, message = {}, "open", ""
        elif record.get("status") == "FAILURE":
            outcome, message = ("interrupted" if _INTERRUPTED.search(text) else "failed"), text
        elif _FINISHED.match(text) and outcome == "open":
            outcome, message = "finished", text
        elif text.startswith("Test metrics generated"):
            tested = _numbers(record.get("kpi"))
    return StatusSummary(epochs, tested, outcome, message)


class _Reader:
    """Turns records into events; holds the lines of an epoch until they are complete.

    Attributes:
        held_at: byte offset of the first line that is held, or None.
    """

    def __init__(self, zone: tzinfo) -> None:
        self.zone = zone
        self.events: list[dict[str, Any]] = []
        self.held_at: int | None = None
        self._held: dict[str, Mapping[str, Any]] = {}
        self._last_epoch = 0

    def read(self, record: Mapping[str, Any], offset: int) -> None:
        """Take in one line, which starts at that offset."""
        text = _message(record)
        part = next((part for part, words in _EPOCH_LINES.items() if text.startswith(words)), "")
        # A validation opens the next epoch; its lines come in the order validated, counted, trained.
        if part in self._held or (part == "validated" and self._held):
            self.flush()
        if not part:
            self.flush()
            self._other(record, text)
            return
        if not self._held:
            self.held_at = offset
        self._held[part] = record
        if {"counted", "trained"} <= self._held.keys():
            self.flush()

    def _other(self, record: Mapping[str, Any], text: str) -> None:
        if starting := _STARTING.match(text):
            self._last_epoch = 0
            self._emit(record, "start", action=starting[1], device="gpu")
        elif record.get("status") == "FAILURE" or text.startswith("Resuming training from"):
            self._emit(record, "notice", message=text)

    def flush(self) -> None:
        """Emit the epoch that is held, with what is known of it; metrics without an epoch are dropped."""
        held, self._held, self.held_at = self._held, {}, None
        loop = held.get("counted", {})
        epoch, epochs = _epoch(loop)
        if epoch <= self._last_epoch:
            return
        self._last_epoch = epoch
        kpis = [held[part].get("kpi") for part in ("validated", "trained") if part in held]
        metrics = {name: value for kpi in kpis for name, value in _numbers(kpi).items()}
        for name in sorted({name for kpi in kpis for name in _not_finite(kpi)}):
            self._emit(loop, "notice", message=f"{name} of epoch {epoch} is not a number")
        steps = _steps(loop, epochs)
        where = {"phase": "train", "epoch": epoch, "num_epochs": epochs, "step": steps, "steps": steps}
        loss, left = metrics.get("train_loss"), _seconds(loop.get("eta"))
        self._emit(loop, "progress", **where, loss=loss, pairs_per_s=None, eta_s=left)
        self._emit(loop, "epoch", epoch=epoch, metrics=metrics, lr=None, seconds=_seconds(loop.get("time_per_epoch")))

    def _emit(self, record: Mapping[str, Any], event: str, **fields: Any) -> None:
        self.events.append({"time": _moment(record, self.zone), "event": event, **fields})


def _from_offset(path: Path, offset: int) -> tuple[bytes, int]:
    """The bytes after an offset; from the start where the offset is not behind a line of this file."""
    try:
        with path.open("rb") as stream:
            if offset > 0:
                stream.seek(offset - 1)
                if stream.read(1) != b"\n":
                    offset = 0
            stream.seek(offset)
            return stream.read(), offset
    except OSError:
        return b"", 0


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _message(record: Mapping[str, Any]) -> str:
    return str(record.get("message") or "")


def _numbers(kpi: Any) -> dict[str, float]:
    """The finite numbers of a ``kpi``."""
    pairs = kpi.items() if isinstance(kpi, dict) else ()
    return {str(name): value for name, value in pairs if _is_number(value)}


def _not_finite(kpi: Any) -> list[str]:
    pairs = kpi.items() if isinstance(kpi, dict) else ()
    return [str(name) for name, value in pairs if isinstance(value, float) and not math.isfinite(value)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _epoch(loop: Mapping[str, Any]) -> tuple[int, int | None]:
    """(epoch from 1, number of epochs). Releases that count from 0 also name the step, older ones do not."""
    first = 1 if "step" in loop else 0
    epoch, last = loop.get("epoch"), loop.get("max_epoch")
    if not isinstance(epoch, int) or isinstance(epoch, bool):
        return 0, None
    epochs = last + first if isinstance(last, int) and not isinstance(last, bool) else None
    number = epoch + first
    return (number if epochs is None else min(number, epochs)), epochs


def _steps(loop: Mapping[str, Any], epochs: int | None) -> int | None:
    """Steps of one epoch, from those of all."""
    every = loop.get("max_step")
    return every // epochs if isinstance(every, int) and epochs else None


def _seconds(text: Any) -> float | None:
    """Seconds of ``1 day, 2:03:04.5``."""
    found = _DURATION.fullmatch(str(text))
    if found is None:
        return None
    return int(found[1] or 0) * 86400 + int(found[2]) * 3600 + int(found[3]) * 60 + float(found[4])


def _moment(record: Mapping[str, Any], zone: tzinfo) -> str:
    """``date`` and ``time`` of a record (``M/D/YYYY``, ``H:M:S``) as ISO 8601 in UTC; now where they are no time."""
    date, time = _DATE.fullmatch(str(record.get("date"))), _TIME.fullmatch(str(record.get("time")))
    moment = datetime.now(UTC)
    if date and time:
        month, day, year = map(int, date.groups())
        hour, minute, second = map(int, time.groups())
        with contextlib.suppress(ValueError, OverflowError):
            moment = datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")

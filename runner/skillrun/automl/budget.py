"""What a study may spend, and the time that it has spent so far over all processes that drove it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skillrun.errors import UsageError
from skillrun.hostoptions import parse_duration
from skillrun.runfolder import read_json, write_atomic

DEFAULT_TRIALS = 20
_KEEP_EVERY_S = 2.0


@dataclass(frozen=True)
class Budget:
    """Limits of a study; 0 is no limit, and the first that is reached ends it.

    Attributes:
        trials: how many trials start. epochs: over all trials. seconds: wall time, running trials included.
    """

    trials: int = 0
    epochs: int = 0
    seconds: float = 0

    def text(self) -> str:
        parts = [f"{self.trials} trials"] if self.trials else []
        parts += [f"{self.epochs} epochs in all"] if self.epochs else []
        parts += [clock_text(self.seconds)] if self.seconds else []
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Budget:
        return cls(int(raw["trials"]), int(raw["epochs"]), float(raw["seconds"]))


def read_budget(trials: int = 0, epochs: int = 0, time_text: str = "") -> Budget:
    """A budget from what a user typed; `DEFAULT_TRIALS` trials where nothing was said.

    Raises:
        UsageError: a limit below 0, or no length of time.
    """
    seconds = parse_duration(time_text, "--time") if time_text else 0.0
    for flag, value in (("--trials", trials), ("--total-epochs", epochs)):
        if value < 0:
            raise UsageError("E_AUTOML_BUDGET", f"{flag} {value} is below 0", f"{flag} {DEFAULT_TRIALS}")
    if time_text and not seconds:
        raise UsageError("E_AUTOML_BUDGET", f"--time {time_text} leaves no time", "--time 30m")
    nothing = not (trials or epochs or seconds)
    return Budget(DEFAULT_TRIALS if nothing else trials, epochs, seconds)


class Clock:
    """Seconds of driving, kept in a file: a study that is gone on with later has used only what it was driven for.

    Args:
        path: where it is kept; at most `_KEEP_EVERY_S` seconds are lost with a process that is killed.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._path, self._now = path, now
        self._before = float((read_json(path) or {}).get("seconds", 0))
        self._began = self._kept = now()

    @property
    def seconds(self) -> float:
        return self._before + self._now() - self._began

    def keep(self, *, at_once: bool = False) -> None:
        """Write it down, now and then."""
        if at_once or self._now() - self._kept >= _KEEP_EVERY_S:
            self._kept = self._now()
            write_atomic(self._path, json.dumps({"seconds": round(self.seconds, 3)}) + "\n")


def clock_text(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

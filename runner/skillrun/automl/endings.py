"""How a trial ends: what counts as its value, and with which reason; and how that is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from skillrun.automl.budget import clock_text
from skillrun.automl.failures import LOST_AGAIN, cause_of
from skillrun.automl.ledger import Note, Outcome, Row
from skillrun.automl.param import Value, show
from skillrun.automl.trainer import Look

if TYPE_CHECKING:
    from optuna.trial import Trial

RUNG, BUDGET = "rung", "budget"
_SWITCHES = ("enable", "enabled", "augment")


@dataclass
class Active:
    """A trial that trains.

    Attributes:
        known: epochs that are in the journal. epochs: trained so far; seconds: of the measured ones.
        waiting: its place was taken by others, and it starts when one is free.
    """

    trial: Trial
    note: Note
    known: set[int] = field(default_factory=set)
    best: float | None = None
    epochs: int = 0
    seconds: float = 0
    waiting: bool = False

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def reached(self) -> Outcome:
        """What it has done so far."""
        return Outcome(epochs=self.epochs, seconds=round(self.seconds, 3))


@dataclass(frozen=True)
class Ending:
    """What is told of a trial: what it reached; stopped before its end (``pruned``); or neither, and it failed."""

    outcome: Outcome
    value: float | None = None
    pruned: bool = False
    second: float | None = None


def at_rung(one: Active) -> Ending:
    """The end of a trial that paused at a rung and was not taken up again."""
    last = max(one.known, default=one.epochs)
    reached = Outcome(epochs=last, seconds=round(one.note.seconds, 3))
    return Ending(replace(reached, reason=f"stopped after epoch {last}"), pruned=True)


def early(one: Active, reason: str, *, second: str = "") -> Ending:
    """A trial that ended early counts with what it reached; without all that the search asks for it has no value."""
    if second:
        return Ending(replace(one.reached, reason=f"{reason}, before {second} was measured"), pruned=True)
    if one.best is None:
        return Ending(replace(one.reached, reason=f"{reason}, before its first validation"), pruned=True)
    return Ending(replace(one.reached, reason=reason), one.best)


def succeeded(one: Active, look: Look, metric: str, second: str = "") -> Ending:
    """The end of a whole training; one that never measured the metric, or the second goal, failed."""
    if one.best is not None and not (second and look.latency_ms is None):
        return Ending(one.reached, one.best, second=look.latency_ms if second else None)
    text = f"the training validated no {metric}" if one.best is None else f"the training measured no {second}"
    fix = "name a metric that it validates, e.g. --metric val_loss, and give --eval-data"
    return Ending(replace(one.reached, reason=text, cause=text, fix=fix))


def failed(one: Active, look: Look) -> Ending:
    """A failure has no value, whatever was measured before."""
    words = f"{look.code}: {look.message}" if look.code else look.message
    return Ending(replace(one.reached, reason=words, cause=cause_of(look), fix=look.fix))


def lost(one: Active, look: Look) -> Ending:
    """It was lost more often than it is started again."""
    return Ending(replace(one.reached, reason=f"{LOST_AGAIN}: {look.message}", cause=LOST_AGAIN))


def started_text(one: Active, values: Mapping[str, Value]) -> str:
    """One line with what was drawn."""
    drawn = ", ".join(f"{_name(key)} {_short(value)}" for key, value in values.items())
    what = "the template's values" if one.number == 0 else drawn
    return f"trial {one.number} started: run {one.note.run_id}: {what}"


def ended_text(told: Row, metric: str, best: float | None) -> str:
    """One line with what came of it; ``best`` is the best value by now, this trial's included."""
    if told.state == "failed":
        return f"trial {told.number} failed: {told.reason}"
    if told.value is None:
        return f"trial {told.number} {told.reason}"
    speed = f", {told.second:.1f} ms a pair" if told.second is not None else ""
    seconds = f", {clock_text(told.seconds)}" if told.seconds else ""
    why = f", {told.reason}" if told.reason else ""
    mark = "best so far" if best == told.value else f"best {best:.4g}"
    return f"trial {told.number}: {metric} {told.value:.4g}{speed}{seconds}{why}  ({mark})"


def _short(value: Value) -> str:
    return show(float(f"{value:.3g}")) if isinstance(value, float) else show(value)


def _name(key: str) -> str:
    """The end of a key that tells it apart: ``lr``, ``random_flip.enable``."""
    section, _, name = key.rpartition(".")
    return f"{section.rpartition('.')[2]}.{name}" if name in _SWITCHES else name

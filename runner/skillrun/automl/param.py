"""One searched key: its range, when it matters, and how a value of it is drawn, fitted or counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Condition:
    """Another searched key has one of these values; a key that is itself not searched in a trial fulfils nothing."""

    key: str
    values: tuple[Value, ...]

    def holds(self, values: Mapping[str, Value]) -> bool:
        return self.key in values and values[self.key] in self.values

    def text(self) -> str:
        return f"{self.key}={','.join(map(show, self.values))}"


@dataclass(frozen=True)
class Param:
    """A searched key.

    Attributes:
        kind: ``float``, ``int`` or ``choice``; a choice has ``choices``, the others ``low`` and ``high`` (inclusive).
        log: values are drawn evenly over the logarithm.
        step: distance of the allowed values, counted from ``low``; None for all.
        weights: how often a choice is drawn at random, parallel to ``choices``; empty for evenly.
        default: value of trial 0, inside the range.
        when: all of these hold in a trial, or the key keeps its template value there.
        above: searched keys whose values this one must exceed.
        origin: who said this range: ``schema``, ``x-search``, ``around the default`` or ``--search``.
        popular: one of the keys that users set most.
    """

    key: str
    kind: str
    default: Value
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    choices: tuple[Value, ...] = ()
    weights: tuple[float, ...] = ()
    when: tuple[Condition, ...] = ()
    above: tuple[str, ...] = ()
    origin: str = "schema"
    popular: bool = False

    def active(self, values: Mapping[str, Value]) -> bool:
        """Whether this key matters in a trial that has these values so far."""
        return all(condition.holds(values) for condition in self.when)

    def suggest(self, trial: BaseTrial, values: Mapping[str, Value]) -> Value:
        """Draw a value; ``values`` holds what the trial has drawn before."""
        if self.kind == "choice":
            chosen: Value = trial.suggest_categorical(self.key, self.choices)
            return chosen
        low = self.floor(values)
        if self.kind == "int":
            return int(trial.suggest_int(self.key, int(low), int(self.high), step=int(self.step or 1), log=self.log))
        return float(trial.suggest_float(self.key, low, self.high, step=self.step, log=self.log))

    def floor(self, values: Mapping[str, Value]) -> float:
        """The lowest value that exceeds all of ``above``."""
        bounds = [float(bound) for key in self.above if (bound := values.get(key)) is not None]
        if not bounds or max(bounds) < self.low:
            return self.low
        unit = self.step or (1 if self.kind == "int" else 0)
        if not unit:
            return math.nextafter(max(bounds), math.inf)
        steps = (_exact(max(bounds)) - _exact(self.low)) // _exact(unit) + 1
        return self._typed(_exact(self.low) + steps * _exact(unit))

    def fit(self, value: Any, values: Mapping[str, Value] | None = None) -> Value:
        """The allowed value nearest to ``value``; the first choice where nothing is near."""
        if self.kind == "choice":
            same = [choice for choice in self.choices if choice == value and type(choice) is type(value)]
            return same[0] if same else _nearest(self.choices, value)
        low = self.floor(values or {})
        if not isinstance(value, int | float) or isinstance(value, bool):
            return self._typed(_exact(low))
        clipped = min(max(value, low), self.high)
        unit = self.step or (1 if self.kind == "int" else 0)
        if not unit:
            return float(clipped)
        steps = round((_exact(clipped) - _exact(low)) / _exact(unit))
        return self._typed(_exact(low) + steps * _exact(unit))

    def count(self) -> float:
        """How many values there are; infinite for a float without steps."""
        if self.kind == "choice":
            return len(self.choices)
        unit = self.step or (1 if self.kind == "int" else 0)
        return int((_exact(self.high) - _exact(self.low)) // _exact(unit)) + 1 if unit else math.inf

    def levels(self, number: int) -> list[Value]:
        """At most ``number`` different values spread over the range on its scale; one alone is the default."""
        if self.kind == "choice":
            return [self.default, *(choice for choice in self.choices if choice is not self.default)][:number]
        if number < 2:
            return [self.default]
        shares = [step / (number - 1) for step in range(number)]
        if number == 2 and self.count() > 2:
            shares = [0.25, 0.75]  # the middle of each half: two outer ends would say little
        if self.log:
            points = [self.low * (self.high / self.low) ** share for share in shares]
        else:
            points = [self.low + (self.high - self.low) * share for share in shares]
        return list(dict.fromkeys(self.fit(point) for point in points))

    def range_text(self) -> str:
        """``LOW..HIGH`` as ``--search`` takes it, or the choices."""
        if self.kind == "choice":
            return ",".join(map(show, self.choices))
        step = f" step {show(self.step)}" if self.step else ""
        return f"{show(self.low)}..{show(self.high)}{step}"

    def _typed(self, value: Decimal) -> int | float:
        return int(value) if self.kind == "int" else float(value)


def show(value: Any) -> str:
    """A value as one types it on the command line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _exact(value: float) -> Decimal:
    return Decimal(str(value))


def _nearest(choices: tuple[Value, ...], value: Any) -> Value:
    numbers = [item for item in choices if isinstance(item, int | float) and not isinstance(item, bool)]
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        return min(numbers, key=lambda item: abs(item - value))
    return choices[0]

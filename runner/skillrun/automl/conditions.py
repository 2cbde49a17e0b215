"""What a schema says about values beyond their bounds: ``math_cond`` and ``depends_on``, in all published spellings.

``math_cond``: comparisons with a number (``> 0.0``, ``>0``, ``>= 1``, ``!= 0``, ``> 0.0 <= 1.0``), multiples
(``/ 16``), powers (``^ 2``) and ``> depends_on``; blanks do not matter.

``depends_on``: keys separated by commas. ``key=value`` (``key=a|b`` for several values) matters only with that value;
a plain key matters only where the key is on or given, and a plain key of a number says only what is drawn first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from skillrun.automl.param import Value, show
from skillrun.overrides import parse_value

_TERM = re.compile(r"\s*(>=|<=|!=|==|>|<|/|\^)\s*(depends_on|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?:,|and)?")
# A switch with one of these names turns off everything else in its section.
_SWITCHES = ("enable", "enabled", "augment")


class NotSearchableError(Exception):
    """Why a key can not be searched, as the end of a sentence that starts with the key."""


@dataclass(frozen=True)
class Bounds:
    """Allowed values of a number; an open end does not belong to them."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def and_low(self, low: float, *, is_open: bool) -> Bounds:
        return max(self, Bounds(low, self.high, is_open, self.high_open), key=lambda it: (it.low, it.low_open))

    def and_high(self, high: float, *, is_open: bool) -> Bounds:
        return min(self, Bounds(self.low, high, self.low_open, is_open), key=lambda it: (it.high, not it.high_open))

    def holds(self, value: float) -> bool:
        over = value > self.low if self.low_open else value >= self.low
        return over and (value < self.high if self.high_open else value <= self.high)

    def text(self) -> str:
        left, right = "(" if self.low_open or self.low == -math.inf else "[", ")" if self.high_open else "]"
        ends = [str(end).replace("inf", "∞") if math.isinf(end) else show(end) for end in (self.low, self.high)]
        return f"{left}{ends[0]}, {ends[1]}{')' if self.high == math.inf else right}"


@dataclass(frozen=True)
class MathCondition:
    """A parsed ``math_cond``: what is allowed beyond the schema's bounds.

    Attributes:
        terms: comparisons as (operator, number).
        multiple: values are multiples of this number.
        power: values are powers of this number.
        above_parents: the value exceeds those of all keys named in ``depends_on``.
    """

    terms: tuple[tuple[str, float], ...] = ()
    multiple: float | None = None
    power: float | None = None
    above_parents: bool = False

    def narrow(self, bounds: Bounds, default: Any) -> Bounds:
        """The bounds that obey the comparisons; around a forbidden number, the side of the default."""
        for operator, number in self.terms:
            if operator == "!=":
                operator = _side(number, default)
            if operator in (">", ">="):
                bounds = bounds.and_low(number, is_open=operator == ">")
            elif operator in ("<", "<="):
                bounds = bounds.and_high(number, is_open=operator == "<")
            else:
                bounds = bounds.and_low(number, is_open=False).and_high(number, is_open=False)
        return bounds

    def on_grid(self, value: float) -> bool:
        """Whether a value is one of the multiples and powers asked for."""
        if self.multiple and Decimal(str(value)) % Decimal(str(self.multiple)):
            return False
        return not self.power or (value > 0 and self.power ** round(math.log(value, self.power)) == value)


def parse_math(text: str) -> MathCondition:
    """Read a ``math_cond``. Raises NotSearchableError where a part of it is none of the known forms."""
    terms, multiple, power, above, place = [], None, None, False, 0
    while text[place:].strip():
        found = _TERM.match(text, place)
        operator, operand = found.groups() if found else ("", "")
        if found is None or (operand == "depends_on" and operator not in (">", ">=")):
            raise NotSearchableError(f"has a math_cond that can not be read: {text!r}")
        if operand == "depends_on":
            above = True
        elif operator == "/":
            multiple = _positive(float(operand), text)
        elif operator == "^":
            power = _positive(float(operand), text)
        else:
            terms.append((operator, float(operand)))
        place = found.end()
    return MathCondition(tuple(terms), multiple, power, above)


def _positive(number: float, text: str) -> float:
    if number <= 0 or (number <= 1 and "^" in text):
        raise NotSearchableError(f"has a math_cond that no range satisfies: {text!r}")
    return number


def _side(number: float, default: Any) -> str:
    if not isinstance(default, int | float) or default == number:
        raise NotSearchableError(
            f"must differ from {show(number)}, which leaves two ranges and no default between them"
        )
    return ">" if default > number else "<"


@dataclass(frozen=True)
class Need:
    """A key that another depends on; ``values`` is None where only the order of drawing follows from it."""

    key: str
    values: tuple[Value, ...] | None


def parse_depends(text: str, nodes: Mapping[str, Mapping[str, Any]]) -> tuple[Need, ...]:
    """Read a ``depends_on``. Raises NotSearchableError where it names a key that the action does not have."""
    needs = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, wanted = (word.strip() for word in part.replace("==", "=").partition("="))
        if key not in nodes:
            raise NotSearchableError(f"depends on {key}, a key that this action does not have")
        if equals:
            values = tuple(parse_value(word.strip(), nodes[key]) for word in wanted.split("|"))
            needs.append(Need(key, values))
        else:
            needs.append(Need(key, (True,) if nodes[key].get("type") == "boolean" else None))
    return tuple(needs)


def switches(key: str, nodes: Mapping[str, Mapping[str, Any]]) -> tuple[Need, ...]:
    """The switches of the sections around a key, outermost first: ``random_flip.enable`` for its probabilities."""
    sections = key.split(".")[:-1]
    found = []
    for depth in range(1, len(sections) + 1):
        for name in _SWITCHES:
            switch = ".".join([*sections[:depth], name])
            if switch != key and nodes.get(switch, {}).get("type") == "boolean":
                found.append(Need(switch, (True,)))
    return tuple(found)


def order_of_drawing(parents: Mapping[str, tuple[str, ...]]) -> tuple[list[str], set[str]]:
    """Keys with each after those it depends on, else in the order given; and the keys caught in a circle."""
    done: list[str] = []
    open_keys = list(parents)
    while ready := [key for key in open_keys if not any(parent in open_keys for parent in parents[key])]:
        done.extend(ready)
        open_keys = [key for key in open_keys if key not in ready]
    return done, set(open_keys)

"""What a threshold is asked to keep: a limit on escapes or on overkill, or the least cost of both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from skillrun.errors import UsageError

Kind = Literal["max-escape", "max-overkill", "cost"]
_SHARE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?\s*(%|ppm)?")
_UNITS = {None: 1.0, "%": 1e-2, "ppm": 1e-6}
_COST = re.compile(r"(escape|overkill)=(\d+(?:\.\d*)?|\.\d+)")
# Counts are compared with a share of a total; its rounding must not decide.
_SLACK = 1e-9


@dataclass(frozen=True)
class Rule:
    """How one margin is preferred to another.

    Attributes:
        text: as a person writes it after ``--``; stored with the margin.
        limit: largest share in 0..1 of what ``kind`` names; 1 for a cost.
        escape, overkill: price of one part of each kind, ≥ 0; only for a cost.
    """

    kind: Kind
    text: str
    limit: float = 1.0
    escape: float = 0.0
    overkill: float = 0.0

    def rank(self, escapes: int, false_calls: int, defects: int, good: int) -> tuple[float, int] | None:
        """The less the better; None where the limit is broken. No two margins of one data set rank equally.

        Limits: the fewest of the other kind, then the fewest of the limited kind. Cost: the least, then the fewest
        escapes.
        """
        if self.kind == "max-escape":
            return (false_calls, escapes) if escapes <= self.limit * defects + _SLACK else None
        if self.kind == "max-overkill":
            return (escapes, false_calls) if false_calls <= self.limit * good + _SLACK else None
        return self.escape * escapes + self.overkill * false_calls, escapes


def parse_share(text: str, option: str) -> float:
    """A share in 0..1 from ``0.1%``, ``0.001`` or ``1000ppm``.

    Raises:
        UsageError: ``E_ARG_SHARE``.
    """
    match = _SHARE.fullmatch(text.strip())
    value = float(match[1] + (match[2] or "")) * _UNITS[match[3]] if match else -1.0
    if not 0 <= value <= 1:
        raise UsageError(
            "E_ARG_SHARE",
            f"{option} {text!r} is no share between 0 and 1, like 0.1%, 0.001 or 1000ppm",
            f"skillrun threshold last {option} 1%",
        )
    return value


def parse_rule(max_escape: str, max_overkill: str, cost: str) -> Rule:
    """The one rule that was given; the others are empty.

    Raises:
        UsageError: none or several (``E_THRESHOLD_RULE``), or one that can not be read.
    """
    if len([text for text in (max_escape, max_overkill, cost) if text]) != 1:
        raise UsageError(
            "E_THRESHOLD_RULE",
            "a threshold needs one of --max-escape, --max-overkill and --cost, and only one",
            "skillrun threshold last --max-escape 0.1%",
        )
    if max_escape:
        return Rule("max-escape", f"max-escape {max_escape.strip()}", parse_share(max_escape, "--max-escape"))
    if max_overkill:
        return Rule("max-overkill", f"max-overkill {max_overkill.strip()}", parse_share(max_overkill, "--max-overkill"))
    return _cost(cost)


def _cost(text: str) -> Rule:
    matches = [_COST.fullmatch(part.strip()) for part in text.split(",")]
    prices = {match[1]: float(match[2]) for match in matches if match}
    if len(matches) != 2 or len(prices) != 2 or not all(prices.values()):
        raise UsageError(
            "E_ARG_COST",
            f"--cost {text!r} is not two prices above 0, of an escape and of an overkill",
            "skillrun threshold last --cost escape=50,overkill=1",
        )
    return Rule("cost", f"cost {text.strip()}", escape=prices["escape"], overkill=prices["overkill"])

"""Whether an evaluation keeps the rule that its threshold was chosen by; no rule, no claim."""

from __future__ import annotations

from typing import Any

from skillrun.inspection import Outcomes, Rate, Threshold, parse_rule

_LIMITS = ("max-escape", "max-overkill")


def gates(chosen: Threshold | None, outcomes: Outcomes) -> list[dict[str, Any]]:
    """The rule at the margin in use and, where another was chosen, at that one.

    ``passed`` compares the share that was counted; ``proven`` the upper end of its 95 % interval.
    """
    name, _, limit = chosen.rule.partition(" ") if chosen else ("", "", "")
    if chosen is None or name not in _LIMITS:
        return []
    rule = parse_rule(limit, "", "") if name == _LIMITS[0] else parse_rule("", limit, "")
    margins = {"in use": outcomes.margin} | ({"chosen": chosen.margin} if chosen.margin != outcomes.margin else {})
    rates = {said: _rate(name, outcomes, margin) for said, margin in margins.items()}
    return [
        {
            "rule": chosen.rule,
            "which": said,
            "margin": margins[said],
            "limit": rule.limit,
            "rate": rate.to_json(),
            "passed": rate.value is not None and rate.value <= rule.limit,
            "proven": bool(rate.total) and rate.interval()[1] <= rule.limit,
        }
        for said, rate in rates.items()
    ]


def _rate(name: str, outcomes: Outcomes, margin: float) -> Rate:
    return outcomes.escapes(margin) if name == "max-escape" else outcomes.overkill(margin)

"""The range of one key: from the schema, or from what the user typed after ``--search``."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from skillrun.automl.conditions import Bounds, MathCondition, NotSearchableError, parse_math
from skillrun.automl.param import Param, show
from skillrun.errors import UsageError
from skillrun.overrides import nearest, parse_value

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})((?::[a-z]+(?:=[^:]*)?)*)")
_STEP = re.compile(rf"step=({_NUMBER})")
# Where neither x-search nor bounds end a range: so many times below and above the default, on a log scale.
_AROUND = {"float": 10, "int": 4}
# How far from an open end a range of floats begins, as a share of its width.
_OFF_OPEN_END = 1e-3
# Whole numbers beyond it are not all floats, as which Optuna keeps them.
_EXACT = 2**53
# Finer steps than these are lost in the rounding of floats.
_MOST_STEPS = 1e12
_HOW = "write --search KEY=LOW..HIGH[:log][:step=S], or --search KEY=a,b,c"


def from_schema(key: str, node: Mapping[str, Any], default: Any) -> Param:
    """The range that bounds, choices, ``math_cond`` and ``x-search`` of a schema node leave.

    Raises:
        NotSearchableError: no finite range follows from them.
    """
    condition = parse_math(node.get("math_cond", ""))
    if "enum" in node or _types(node) == {"boolean"}:
        return _from_enum(key, node, default)
    kind = number_kind(node)
    bounds = bounds_of(node, condition, default)
    wish = node.get("x-search", {})
    low, high, log = wish.get("low", -math.inf), wish.get("high", math.inf), bool(wish.get("log"))
    inner = bounds.and_low(low, is_open=False).and_high(high, is_open=False)
    origin = "x-search" if wish else "schema"
    if math.isinf(inner.low) or math.isinf(inner.high):
        inner, log, origin = _around(inner, default, kind), True, "around the default"
    low, high = _closed(inner, kind, default, log=log)
    if condition.power:
        powers = _powers(condition.power, low, high, kind)
        return Param(key, "choice", default, choices=powers, origin=origin)
    step = condition.multiple or wish.get("step")
    low, high = _on_grid(low, high, step, from_zero=condition.multiple is not None)
    if low >= high:
        raise NotSearchableError(f"has no range: the schema leaves {show(low)}..{show(high)}")
    return _number(key, kind, default, low, high, log=log and step is None, step=step, origin=origin)


def from_text(key: str, node: Mapping[str, Any], default: Any, text: str) -> Param:
    """The range or the choices that a user typed.

    Raises:
        UsageError: it is no range, or reaches outside the schema.
        NotSearchableError: the key can not be searched at all.
    """
    condition = parse_math(node.get("math_cond", ""))
    found = _RANGE.fullmatch(text)
    if not found:
        return _from_choices(key, node, default, text, condition)
    if "enum" in node or not _types(node) & {"number", "integer"}:
        raise _refusal(key, text, f"{key} takes {_allowed(node)}, not a range", f"--search {key}={_some(node)}")
    kind = number_kind(node)
    low, high = float(found[1]), float(found[2])
    log, step = _options(key, text, found[3])
    _check_scale(key, text, kind, low, high, log=log, step=step)
    bounds = bounds_of(node, condition, default)
    if not (bounds.holds(low) and bounds.holds(high)) or condition.power:
        rule = f" with math_cond {node['math_cond']!r}" if node.get("math_cond") else ""
        message = f"{show(low)}..{show(high)} is not inside what the schema allows for {key}: {bounds.text()}{rule}"
        raise UsageError("E_SEARCH_RANGE", f"--search {key}={text}: {message}", _inside(key, bounds, low, high))
    step = condition.multiple or step
    low, high = _on_grid(low, high, step, from_zero=condition.multiple is not None)
    if low >= high:
        raise _refusal(key, text, f"fewer than two values lie on the steps of {show(step)}", _HOW)
    return _number(key, kind, default, low, high, log=log and step is None, step=step, origin="--search")


def _check_scale(key: str, text: str, kind: str, low: float, high: float, *, log: bool, step: float | None) -> None:
    """Refuse a range that no number of this kind can be drawn from, whatever the schema says."""
    largest = max(abs(low), abs(high), high - low)
    if largest > (_EXACT if kind == "int" else sys.float_info.max) or (step and largest / step > _MOST_STEPS):
        raise _refusal(key, text, "the range is too large to be drawn from", _HOW)
    if kind == "int" and not all(number.is_integer() for number in (low, high, step or 1.0)):
        raise _refusal(key, text, f"{key} is a whole number", f"--search {key}={math.ceil(low)}..{math.floor(high)}")
    if low >= high:
        raise _refusal(key, text, "the lower end is not below the upper one", f"to set one value: {key}={show(low)}")
    if log and low <= 0:
        fix = f"--search {key}={show(high / 1e4)}..{show(high)}:log" if high > 0 else _HOW
        raise _refusal(key, text, "a log scale needs a lower end above 0", fix)


def number_kind(node: Mapping[str, Any]) -> str:
    """``int`` or ``float``. Raises NotSearchableError for texts, lists and mappings."""
    types = _types(node)
    if types == {"integer"}:
        return "int"
    if types and types <= {"number", "integer"}:
        return "float"
    what = "a text without a list of choices" if types == {"string"} else "no single value"
    raise NotSearchableError(f"is {what}")


def bounds_of(node: Mapping[str, Any], condition: MathCondition, default: Any) -> Bounds:
    """What the schema's bounds and its comparisons allow together."""
    bounds = Bounds()
    for word, is_open in (("minimum", False), ("exclusiveMinimum", True)):
        if word in node:
            bounds = bounds.and_low(node[word], is_open=is_open)
    for word, is_open in (("maximum", False), ("exclusiveMaximum", True)):
        if word in node:
            bounds = bounds.and_high(node[word], is_open=is_open)
    return condition.narrow(bounds, default)


def _number(key: str, kind: str, default: Any, low: float, high: float, **more: Any) -> Param:
    make = int if kind == "int" else float
    step = more.pop("step")
    return Param(key, kind, default, make(low), make(high), step=make(step) if step else None, **more)


def _from_enum(key: str, node: Mapping[str, Any], default: Any) -> Param:
    choices = list(node.get("enum", [False, True]))
    weights = list(node.get("option_weights", []))
    if weights:
        if len(weights) != len(choices) or min(weights) < 0:
            raise NotSearchableError(f"has {len(weights)} option_weights for {len(choices)} choices")
        kept = [(choice, weight) for choice, weight in zip(choices, weights, strict=True) if weight > 0]
        choices, weights = [choice for choice, _ in kept], [weight for _, weight in kept]
    if len(choices) < 2:
        raise NotSearchableError("has only one choice")
    return Param(key, "choice", default, choices=tuple(choices), weights=tuple(float(weight) for weight in weights))


def _from_choices(key: str, node: Mapping[str, Any], default: Any, text: str, condition: MathCondition) -> Param:
    from jsonschema import Draft202012Validator

    if _types(node) & {"array", "object"}:
        raise NotSearchableError("is no single value")
    values = [parse_value(word.strip(), node) for word in text.split(",") if word.strip()]
    number = _types(node) <= {"number", "integer"} and "enum" not in node
    bounds = bounds_of(node, condition, default) if number else Bounds()
    for value in values:
        fits = Draft202012Validator(node).is_valid(value)
        if fits and number and isinstance(value, int | float):
            fits = math.isfinite(value) and bounds.holds(value) and condition.on_grid(value)
        if not fits:
            allowed = f"{bounds.text()} {node.get('math_cond', '')}".strip() if number else _allowed(node)
            close = nearest(str(value), map(str, node.get("enum", [])))
            fix = f"did you mean {close[0]}?" if close else _HOW
            raise UsageError("E_SEARCH_RANGE", f"--search {key}={text}: {show(value)} is not allowed: {allowed}", fix)
    if _types(node) == {"number"}:
        values = [float(value) if value is not None else None for value in values]
    choices = tuple(dict.fromkeys(values))
    if len(choices) < 2:
        raise _refusal(key, text, "one value is no search", f"to set it: {key}={text}")
    return Param(key, "choice", default, choices=choices, origin="--search")


def _options(key: str, text: str, words: str) -> tuple[bool, float | None]:
    log, step = False, None
    for word in filter(None, words.split(":")):
        stepped = _STEP.fullmatch(word)
        if word == "log":
            log = True
        elif stepped and float(stepped[1]) > 0:
            step = float(stepped[1])
        else:
            raise _refusal(key, text, f"{word!r} is neither log nor step=NUMBER", _HOW)
    if log and step:
        raise _refusal(key, text, "log and step exclude each other", f"--search {key}={text.replace(':log', '')}")
    return log, step


def _refusal(key: str, text: str, problem: str, fix: str) -> UsageError:
    return UsageError("E_SEARCH_SYNTAX", f"--search {key}={text}: {problem}", fix)


def _inside(key: str, bounds: Bounds, low: float, high: float) -> str:
    ends = [end for end in (max(low, bounds.low), min(high, bounds.high)) if bounds.holds(end)]
    return f"--search {key}={show(ends[0])}..{show(ends[1])}" if len(set(ends)) == 2 else _HOW


def _around(bounds: Bounds, default: Any, kind: str) -> Bounds:
    """A finite range where the schema has none: some times below and above a default that is greater than 0."""
    if not isinstance(default, int | float) or isinstance(default, bool) or default <= 0:
        raise NotSearchableError(f"is unbounded and its default {show(default)} gives no scale; name a range")
    times = _AROUND[kind]
    low = math.floor(default / times) if kind == "int" else default / times
    return bounds.and_low(max(low, 1) if kind == "int" else low, is_open=False).and_high(default * times, is_open=False)


def _closed(bounds: Bounds, kind: str, default: Any, *, log: bool) -> tuple[float, float]:
    """Both ends as values that may be drawn; a default close to an open end stays inside."""
    low, high = bounds.low, bounds.high
    if kind == "int":
        return (
            math.floor(low) + 1 if bounds.low_open else math.ceil(low),
            math.ceil(high) - 1 if bounds.high_open else math.floor(high),
        )
    off = (high - low) * _OFF_OPEN_END
    if isinstance(default, int | float) and low < default < high:
        off = min(off, default - low, high - default)
    low = low + off if bounds.low_open or (log and low <= 0) else low
    return low, high - off if bounds.high_open else high


def _powers(base: float, low: float, high: float, kind: str) -> tuple[int | float, ...]:
    first = math.ceil(math.log(max(low, 1 if kind == "int" else 1e-6), base) - 1e-9)
    last = math.floor(math.log(high, base) + 1e-9) if high > 0 else first - 1
    found = [base**exponent for exponent in range(first, last + 1)]
    if len(found) < 2:
        raise NotSearchableError(f"has fewer than two powers of {show(base)} in {show(low)}..{show(high)}")
    return tuple(int(value) if kind == "int" else float(value) for value in found)


def _on_grid(low: float, high: float, step: float | None, *, from_zero: bool) -> tuple[float, float]:
    """Ends moved inward onto the grid, which starts at 0 for multiples and at ``low`` else."""
    if not step:
        return low, high
    bottom, top, unit = (Decimal(str(number)) for number in (low, high, step))
    if from_zero:
        bottom = (bottom / unit).to_integral_value(ROUND_CEILING) * unit
    top = bottom + ((top - bottom) / unit).to_integral_value(ROUND_FLOOR) * unit
    return float(bottom), float(top)


def _types(node: Mapping[str, Any]) -> set[str]:
    types = node.get("type", [])
    return ({types} if isinstance(types, str) else set(types)) - {"null"}


def _allowed(node: Mapping[str, Any]) -> str:
    if "enum" in node:
        return "one of " + ", ".join(map(show, node["enum"]))
    return " or ".join(sorted(_types(node)))


def _some(node: Mapping[str, Any]) -> str:
    return ",".join(map(show, node.get("enum", [True, False])[:3]))

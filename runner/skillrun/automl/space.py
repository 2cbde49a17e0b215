"""The search space of a study: searched keys in the order of drawing, and what is not searched and why."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from skillrun.automl.param import Condition, Param, Value, show

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

# Fields that say how a range came about, not what it is: two spaces that differ only here are one.
_NOT_HASHED = ("origin", "popular")


@dataclass(frozen=True)
class Space:
    """What a study draws from.

    Attributes:
        params: searched keys; each stands after those that its conditions name.
        left_out: key → why it is not searched, a sentence without the key.
        notices: sentences the user should read before the search starts.
    """

    params: tuple[Param, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """sha256 over ranges, choices, conditions and the values of trial 0; the same in every process."""
        rows = [{name: value for name, value in row.items() if name not in _NOT_HASHED} for row in self._rows()]
        text = json.dumps(rows, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    @property
    def size(self) -> float:
        """Number of different trials; infinite where a float has no steps. What can not matter is not counted."""
        if any(param.count() == math.inf for param in self.params):
            return math.inf
        return self._count(0, {})

    def suggest(self, trial: BaseTrial) -> dict[str, Value]:
        """Draw one value for every key that matters in this trial, always in the same order.

        Returns:
            Dotted key → bool, int, float or text as the spec takes it. Keys that do not matter are absent and keep
            their template value.
        """
        values: dict[str, Value] = {}
        for param in self.params:
            if param.active(values):
                values[param.key] = param.suggest(trial, values)
        return values

    def defaults(self) -> dict[str, Value]:
        """The values of trial 0: the template's own, moved into the range where a user's range leaves them out."""
        return self._complete({param.key: param.default for param in self.params})

    def grid(self, budget: int) -> list[dict[str, Value]]:
        """At most ``budget`` different points; the first is `defaults`.

        The points are all combinations of some values of each key, spread over its range on its scale. Keys get
        further values in turn, those asked for by name and rates (log scales) first, as long as all combinations
        stay within the budget.
        """
        levels = self._levels(max(budget - 1, 1))
        keys = [param.key for param in self.params]
        found = [self.defaults()]
        seen = {_text(found[0])}
        for combination in itertools.product(*levels.values()):
            point = self._complete(dict(zip(keys, combination, strict=True)))
            if len(found) < budget and _text(point) not in seen:
                seen.add(_text(point))
                found.append(point)
        return found

    def describe(self) -> list[dict[str, str]]:
        """Rows for a table: key, kind, range, scale, template value, condition, and where the range comes from."""
        return [
            {
                "key": param.key,
                "kind": param.kind,
                "range": param.range_text(),
                "scale": "log" if param.log else "" if param.kind == "choice" else "linear",
                "trial 0": show(param.default),
                "only with": " and ".join(
                    [condition.text() for condition in param.when] + [f"a value above {key}" for key in param.above]
                ),
                "from": param.origin,
            }
            for param in sorted(self.params, key=lambda param: not param.popular)
        ]

    def weights(self) -> dict[str, tuple[float, ...]]:
        """How often each choice is drawn at random, for the keys whose schema says so."""
        return {param.key: param.weights for param in self.params if param.weights}

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {
            "hash": self.hash,
            "params": self._rows(),
            "left_out": dict(self.left_out),
            "notices": list(self.notices),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Space:
        """The space that `to_json` wrote."""
        return cls(tuple(_param(row) for row in raw["params"]), dict(raw["left_out"]), tuple(raw["notices"]))

    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(json.dumps([asdict(param) for param in self.params]))
        return rows

    def _complete(self, wanted: Mapping[str, Value]) -> dict[str, Value]:
        """What of ``wanted`` matters, each value inside its range."""
        values: dict[str, Value] = {}
        for param in self.params:
            if param.active(values):
                values[param.key] = param.fit(wanted[param.key], values)
        return values

    def _count(self, start: int, values: dict[str, Value]) -> float:
        parents = {condition.key for param in self.params for condition in param.when}
        bounding = {key for param in self.params for key in param.above}
        total = 1.0
        for place, param in enumerate(self.params[start:], start):
            if not param.active(values):
                continue
            if param.key in parents | bounding:
                options = param.levels(int(param.count()))
                return total * sum(self._count(place + 1, {**values, param.key: option}) for option in options)
            unit = param.step or 1
            total *= param.count() if not param.above else (param.high - param.floor(values)) // unit + 1
        return int(total)

    def _levels(self, budget: int) -> dict[str, list[Value]]:
        levels = {param.key: param.levels(1) for param in self.params}
        growing = sorted(self.params, key=_importance)
        while growing:
            param = min(growing, key=lambda param: len(levels[param.key]))
            now = len(levels[param.key])
            wider = param.levels(now + 1)
            product = math.prod(len(values) for values in levels.values()) // now * len(wider)
            if len(wider) > now and product <= budget:
                levels[param.key] = wider
            else:
                growing.remove(param)
        return levels


def _importance(param: Param) -> tuple[bool, ...]:
    return (param.origin != "--search", not param.popular, not param.log, param.kind == "choice")


def _text(point: Mapping[str, Value]) -> str:
    return json.dumps(point, sort_keys=True)


def _param(row: Mapping[str, Any]) -> Param:
    lists = {name: tuple(row[name]) for name in ("choices", "weights", "above")}
    when = tuple(Condition(one["key"], tuple(one["values"])) for one in row["when"])
    return Param(**{**row, **lists, "when": when})

"""Spec resolution: from template, spec file, parent, data and overrides to one validated spec.

Later layers win: schema default (= template) → ``--spec`` file → parent run's recorded spec → data sources →
inferred parents → ``key=value`` overrides. Each key remembers the layer that set it, for ``--explain``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skillrun.errors import UsageError
from skillrun.overrides import (
    flatten,
    get_dotted,
    leaves,
    nearest,
    parse_value,
    set_dotted,
    split_override,
    unknown_key,
)
from skillrun.rules import apply_rules
from skillrun.specfile import SpecText, dump_spec

# What published specs write for "fill this in".
NOT_GIVEN = "???"
TEMPLATE = "template"


@dataclass(frozen=True)
class Layer:
    """Values of one origin, by dotted key; ``by_user`` where somebody wrote them down for this run."""

    origin: str
    values: Mapping[str, Any]
    by_user: bool = False


@dataclass(frozen=True)
class ResolvedSpec:
    """A spec that satisfies its schema and its cross-field rules.

    Attributes:
        values: the nested spec.
        origins: dotted key → the layer that gave it its value.
        notices: sentences the user should read (clamped values, repeated overrides, ignored sections).
    """

    values: dict[str, Any]
    origins: dict[str, str]
    notices: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The spec as a YAML file."""
        return dump_spec(self.values)

    def get(self, key: str) -> Any:
        """The value at a dotted key, or None."""
        return get_dotted(self.values, key)


class SpecBuilder:
    """Collects layers for one action, then resolves them once.

    Args:
        action: the resolved action, e.g. ``segment_train``.
        schema: its packaged schema.
        shorthand: alias → dotted key, e.g. ``num_epochs`` → ``train.num_epochs``.
        known_elsewhere: keys of other actions; in a spec file they are left out with a notice, not refused.
    """

    def __init__(
        self,
        action: str,
        schema: Mapping[str, Any],
        shorthand: Mapping[str, str] | None = None,
        known_elsewhere: frozenset[str] = frozenset(),
    ) -> None:
        self.action = action
        self.schema = schema
        self.nodes = dict(leaves(schema))
        self.shorthand = {name: key for name, key in (shorthand or {}).items() if key in self.nodes}
        self.known_elsewhere = known_elsewhere
        self.notices: list[str] = []
        self._layers: list[Layer] = []
        self._places: dict[str, str] = {}

    def add(self, origin: str, values: Mapping[str, Any]) -> None:
        """Add a layer of dotted keys that the runner itself found (data, parent, staged weights)."""
        known = {key: value for key, value in values.items() if key in self.nodes}
        for key in known:
            self._places.pop(key, None)
        self._layers.append(Layer(origin, known))

    def latest(self, key: str) -> tuple[Any, str]:
        """What a key would get from the layers so far, and from which; nothing is checked yet."""
        for layer in reversed(self._layers):
            if key in layer.values:
                return layer.values[key], layer.origin
        return self.template(key), TEMPLATE

    def template(self, key: str) -> Any:
        """The value that nobody has to give."""
        return get_dotted(self.schema.get("default", {}), key)

    def by_user(self) -> dict[str, Any]:
        """What the spec file and the overrides say, by dotted key."""
        return {key: value for layer in self._layers if layer.by_user for key, value in layer.values.items()}

    def add_file(self, spec: SpecText) -> None:
        """Add a user's spec file; sections that belong to other actions are left out and said."""
        given: dict[str, Any] = {}
        foreign: set[str] = set()
        for key, value in self._renamed(flatten(spec.values, self.known_elsewhere | self.nodes.keys()), spec):
            if key in self.nodes:
                given[key] = _as_schema_type(value, self.nodes[key])
                self._places[key] = spec.place(key)
            elif key in self.known_elsewhere or _section_only(key, value, self.nodes, self.known_elsewhere):
                foreign.add(key.partition(".")[0] if key.count(".") < 2 else key.rpartition(".")[0])
            else:
                raise unknown_key(key, self.nodes, place=spec.place(key), action=self.action)
        if foreign:
            self.notices.append(f"{spec.name}: not read by {self.action}, left out: {', '.join(sorted(foreign))}")
        self._layers.append(Layer(f"spec file {spec.name}", given, by_user=True))

    def _renamed(self, flat: Mapping[str, Any], spec: SpecText) -> Iterator[tuple[str, Any]]:
        """Keys that older documents spell otherwise, under their present names."""
        table: Mapping[str, list[str]] = self.schema.get("x-renamed", {})
        for key, value in flat.items():
            if key not in table:
                yield key, value
                continue
            present = table[key]
            self.notices.append(f"{spec.place(key)}: {key} is now {' and '.join(present)}")
            parts = value if len(present) > 1 and isinstance(value, list) else [value] * len(present)
            yield from zip(present, parts, strict=False)

    def add_overrides(self, overrides: Sequence[str]) -> None:
        """Add ``key=value`` arguments in the order they were typed; the last of a repeated key wins and is said."""
        given: dict[str, Any] = {}
        for text in overrides:
            word, raw = split_override(text)
            for key, value in self._typed(self.shorthand.get(word, word), word, raw).items():
                if key in given:
                    self.notices.append(f"{key} is given twice; the last one wins: {text}")
                given[key] = value
                self._places[key] = f"argument {text!r}"
        self._layers.append(Layer("command line", given, by_user=True))

    def _typed(self, key: str, word: str, raw: str) -> dict[str, Any]:
        """One argument as typed leaves; a mapping given to a section sets the keys inside it."""
        if key in self.nodes:
            return {key: parse_value(raw, self.nodes[key])}
        inside = parse_value(raw, {"type": "object"})
        flat = flatten(inside, self.nodes, f"{key}.") if isinstance(inside, dict) else {}
        if not flat or not flat.keys() <= self.nodes.keys():
            raise self._not_a_leaf(key, word)
        return flat

    def _not_a_leaf(self, key: str, word: str) -> UsageError:
        inside = [name for name in self.nodes if name.startswith(f"{key}.")]
        if inside:
            return UsageError(
                "E_SPEC_SECTION",
                f"argument {word!r} names a section, not a key",
                f"write one of {', '.join(inside[:4])}",
            )
        known = [*self.nodes, *self.shorthand]
        return unknown_key(word, known, place=f"argument {word!r}", action=self.action)

    def resolve(self) -> ResolvedSpec:
        """Merge, validate, apply the cross-field rules.

        Raises:
            UsageError: a value breaks the schema or a rule; the message names file, line, key and value.
        """
        values = _copy(self.schema.get("default", {}))
        origins = dict.fromkeys(self.nodes, TEMPLATE)
        for layer in self._layers:
            for key, value in layer.values.items():
                set_dotted(values, key, value)
                origins[key] = layer.origin
        self._validate(values)
        for key in path_keys(self.schema):
            set_dotted(values, key, _absolute(get_dotted(values, key)))
        given = frozenset(key for key, origin in origins.items() if origin != TEMPLATE)
        clamped, notices = apply_rules(self.schema.get("x-rules", []), values, given)
        for key, value in clamped.items():
            set_dotted(values, key, value)
            origins[key] = "rule"
        return ResolvedSpec(values, origins, [*self.notices, *notices])

    def _validate(self, values: dict[str, Any]) -> None:
        from jsonschema import Draft202012Validator

        for error in sorted(
            Draft202012Validator(self.schema).iter_errors(values), key=lambda e: list(map(str, e.path))
        ):
            raise self._explain(error)

    def _explain(self, error: Any) -> UsageError:
        path = [str(part) for part in error.absolute_path]
        key = ".".join(part for part in path if not part.isdigit())
        place = self._places.get(key, key)
        value = error.instance
        if error.validator == "enum":
            close = nearest(str(value), map(str, error.validator_value))
            choices = ", ".join(map(str, error.validator_value))
            fix = f"{key}={close[0]}" if close else f"{key}=<one of the choices>"
            return UsageError("E_SPEC_ENUM", f"{place}: {key}={value!r} is none of: {choices}", fix)
        default = self.template(key)
        if error.validator == "type":
            kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
            return UsageError(
                "E_SPEC_TYPE",
                f"{place}: {key}={value!r} has the wrong type; expected {' or '.join(kinds)}",
                f"{key}={default}" if default is not None else f"give {key} a value of that type",
            )
        if error.validator in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            node = self.nodes.get(key, {})
            low, high = _bounds(node)
            return UsageError(
                "E_SPEC_BOUNDS",
                f"{place}: {key}={value!r} is out of bounds [{low}, {high}]",
                f"{key}={default}",
            )
        return UsageError("E_SPEC_VALUE", f"{place}: {key}={value!r}: {error.message}", f"{key}={default}")

    def explain(self, spec: ResolvedSpec) -> Iterator[tuple[str, Any, str]]:
        """``(key, value, origin)`` for every key, in schema order."""
        for key in self.nodes:
            yield key, spec.get(key), self._places.get(key, spec.origins[key])


def path_keys(schema: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Dotted keys that hold paths → (``file`` | ``dir``, ``in`` | ``out``), from ``x-path``."""
    found = {}
    for key, node in leaves(schema):
        mark = node.get("x-path")
        if mark:
            found[key] = (str(mark["kind"]), str(mark["direction"]))
    return found


def _absolute(value: Any) -> Any:
    """A host path as an absolute one, taken from the current folder as a shell would; anything else as it is."""
    if not isinstance(value, str) or not value or value == NOT_GIVEN or "://" in value:
        return value
    return str(Path(value).expanduser().absolute())


def _bounds(node: Mapping[str, Any]) -> tuple[str, str]:
    low = node.get("minimum", node.get("exclusiveMinimum", "-∞"))
    high = node.get("maximum", node.get("exclusiveMaximum", "∞"))
    return str(low), str(high)


def _as_schema_type(value: Any, node: Mapping[str, Any]) -> Any:
    """Published specs write absent texts as null; a key that takes text only gets the empty text."""
    return "" if value is None and node.get("type") == "string" and "enum" not in node else value


def _section_only(key: str, value: Any, nodes: Mapping[str, Any], elsewhere: frozenset[str]) -> bool:
    """An empty section (``export:`` with nothing under it) of this or another action."""
    return value in (None, {}) and any(name.startswith(f"{key}.") for name in (*nodes, *elsewhere))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value

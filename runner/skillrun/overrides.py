"""``key=value`` on the command line, typed by the action's schema."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import yaml

from skillrun.errors import UsageError
from skillrun.specfile import _Loader


def leaves(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every settable key of a schema: ``(dotted key, its schema node)``, in the order of the schema."""
    for name, node in schema.get("properties", {}).items():
        key = f"{prefix}{name}"
        if "properties" in node:
            yield from leaves(node, f"{key}.")
        else:
            yield key, node


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that look or end like a mistyped one, best first."""
    pool = list(known)
    tail = word.rpartition(".")[2]
    same_tail = [name for name in pool if name.rpartition(".")[2] == tail]
    close = difflib.get_close_matches(word, pool, n=count, cutoff=0.6)
    tails = {name.rpartition(".")[2]: name for name in reversed(pool)}
    by_tail = [tails[found] for found in difflib.get_close_matches(tail, list(tails), n=count, cutoff=0.7)]
    return list(dict.fromkeys([*same_tail, *close, *by_tail]))[:count]


def unknown_key(key: str, known: Iterable[str], *, place: str, action: str) -> UsageError:
    """The error for a key that the action does not have, with the nearest names."""
    close = nearest(key, known)
    meant = f"did you mean {', '.join(close)}?" if close else f"no key of {action} looks like it"
    fix = f"write {close[0]}=…" if close else f"list the keys: skillrun visual_changenet schema {action} --keys"
    return UsageError("E_SPEC_UNKNOWN_KEY", f"{place}: unknown key {key!r}; {meant}", fix)


def split_override(text: str) -> tuple[str, str]:
    """``a.b=value`` → ``("a.b", "value")``; raises UsageError without ``=`` or key."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError("E_ARG_OVERRIDE", f"{text!r} is no key=value", "write it as key=value, e.g. num_epochs=5")
    return key.strip().lstrip("+"), value


def parse_value(text: str, node: Mapping[str, Any]) -> Any:
    """Read the text of one value by the types its schema node allows.

    Texts stay as typed where the key is a text (a version ``1.10`` stays ``1.10``); quotes around the whole are
    taken off; ``null`` and the empty text mean "not given" where the key allows null.
    """
    types = node.get("type", [])
    allowed = {types} if isinstance(types, str) else set(types)
    if "null" in allowed and text.strip() in ("", "null", "~", "None"):
        return None
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" and "string" in allowed:
        return text[1:-1]
    if allowed and allowed <= {"string", "null"}:
        return text
    return _yaml_value(text)


def _yaml_value(text: str) -> Any:
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return text
    return text if value is None and text.strip() not in ("null", "~", "") else value


def flatten(values: Mapping[str, Any], known: Container[str], prefix: str = "") -> dict[str, Any]:
    """Nested values → dotted keys, stopping at the ``known`` leaves of a schema (a free map such as ``input_map``)."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in known and (value or not prefix):
            flat.update(flatten(value, known, f"{key}."))
        else:
            flat[key] = value
    return flat


def set_dotted(values: dict[str, Any], key: str, value: Any) -> None:
    """Set ``a.b.c`` in nested dictionaries, making sections as needed."""
    *sections, last = key.split(".")
    for section in sections:
        child = values.get(section)
        if not isinstance(child, dict):
            child = values[section] = {}
        values = child
    values[last] = value


def get_dotted(values: Mapping[str, Any], key: str) -> Any:
    """The value at ``a.b.c``, or None."""
    here: Any = values
    for part in key.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return None
        here = here[part]
    return here

"""One JSON Schema (draft 2020-12) per action, flat: no references, only what the action reads."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

from skillrun.maintain.source import Leaf, Source

DIALECT = "https://json-schema.org/draft/2020-12/schema"
GENERATOR_VERSION = "1"
_LINE = 110


def action_leaves(source: Source, action: str) -> tuple[Leaf, ...]:
    """The leaves that an action reads, with the defaults of its preset and with its own task only."""
    chosen = source.actions[action]
    preset = source.preset(action)
    found = []
    for leaf in source.leaves:
        if chosen.reads_key(leaf.key):
            only = {"enum": [chosen.task]} if leaf.key == "task" else {}
            default = preset.get(leaf.key, leaf.default)
            found.append(Leaf(leaf.key, default, {**leaf.schema, **only}))
    return tuple(found)


def nested(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Dotted keys -> nested dictionaries, in the order given."""
    tree: dict[str, Any] = {}
    for key, value in values:
        *sections, last = key.split(".")
        node = tree
        for name in sections:
            node = node.setdefault(name, {})
        node[last] = copy.deepcopy(value)
    return tree


def build_schema(source: Source, model: str, action: str) -> dict[str, Any]:
    """The schema of one action as a dictionary; the same input gives the same order of keys."""
    leaves = action_leaves(source, action)
    chosen = source.actions[action]
    searched, barred = automl_lists(source, action)
    return {
        "$schema": DIALECT,
        "$id": f"urn:skillrun:{model}:{action}",
        "title": f"Spec of {model} {action}",
        "description": f"Keys that {chosen.command} reads for task {chosen.task}; any other key is an error.",
        "type": "object",
        "additionalProperties": False,
        "properties": _properties(source, leaves),
        "default": nested((leaf.key, leaf.default) for leaf in leaves),
        "automl_default_parameters": searched,
        "automl_disabled_parameters": barred,
        "popular": nested((leaf.key, leaf.default) for leaf in leaves if leaf.schema.get("popular")),
        "x-rules": copy.deepcopy(source.rules(action)),
        "x-renamed": _renamed(source, leaves),
        "x-provenance": {
            "generator": f"skillrun.maintain/{GENERATOR_VERSION}",
            "config_sha256": source.digest,
        },
    }


def automl_lists(source: Source, action: str) -> tuple[list[str], list[str]]:
    """Sorted keys that AutoML searches by default, and those it never touches; empty unless it trains."""
    if source.actions[action].command != "train":
        return [], []
    leaves = action_leaves(source, action)
    return (
        sorted(leaf.key for leaf in leaves if leaf.automl is True),
        sorted(leaf.key for leaf in leaves if leaf.automl is False),
    )


def _renamed(source: Source, leaves: Iterable[Leaf]) -> dict[str, list[str]]:
    known = {leaf.key for leaf in leaves}
    table = {old: [f"{old.rpartition('.')[0]}.{name}" for name in names] for old, names in source.renamed.items()}
    return {old: names for old, names in sorted(table.items()) if known.issuperset(names)}


def _properties(source: Source, leaves: Iterable[Leaf]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for leaf in leaves:
        *sections, last = leaf.key.split(".")
        properties, path = root, ""
        for name in sections:
            path = f"{path}.{name}".lstrip(".")
            if name not in properties:
                properties[name] = {
                    "type": "object",
                    "description": source.sections[path],
                    "default": {},
                    "additionalProperties": False,
                    "properties": {},
                }
            properties = properties[name]["properties"]
        properties[last] = {**copy.deepcopy(dict(leaf.schema)), "default": copy.deepcopy(leaf.default)}
    return root


def dump(value: Any, indent: int = 0) -> str:
    """Strict JSON that differs line by line: one leaf per line, sections indented by one blank."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    leaf = isinstance(value, Mapping) and "type" in value and "properties" not in value
    if leaf or not isinstance(value, dict | list) or len(flat) + indent <= _LINE:
        return flat
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        lines = [
            f"{pad}{json.dumps(name, ensure_ascii=False)}: {dump(item, indent + 1)}" for name, item in value.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    lines = [f"{pad}{dump(item, indent + 1)}" for item in value]
    return "[\n" + ",\n".join(lines) + "\n" + " " * indent + "]"

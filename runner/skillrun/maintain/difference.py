"""What changed between a packaged file and a fresh one, said in terms of keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "minItems", "maxItems", "pattern")


@dataclass(frozen=True)
class Difference:
    """One difference.

    ``kind`` is ``missing``, ``stale``, ``unreadable``, ``new-key``, ``removed-key``, ``type``, ``default``,
    ``bounds``, ``enum``, ``rules`` or ``text`` (anything else in the bytes). ``key`` is a spec key or empty.
    """

    path: Path
    key: str
    kind: str
    detail: str

    def to_json(self) -> dict[str, str]:
        """The same as plain texts; the path with forward slashes."""
        return {"path": self.path.as_posix(), "key": self.key, "kind": self.kind, "detail": self.detail}

    def __str__(self) -> str:
        return f"{self.path.as_posix()}: {self.kind} {self.key}: {self.detail}".replace(" : ", ": ")


def compare(path: Path, packaged: Path, fresh: bytes) -> list[Difference]:
    """Differences of the file ``packaged`` from the content ``fresh``; ``path`` names it in the report."""
    try:
        old = packaged.read_bytes()
    except FileNotFoundError:
        return [Difference(path, "", "missing", "run: skillrun bank generate")]
    if old == fresh:
        return []
    if path.name.endswith(".schema.json"):
        try:
            before = json.loads(old)
        except ValueError as error:
            return [Difference(path, "", "unreadable", f"not JSON: {error}")]
        found = list(_schema_differences(path, before, json.loads(fresh)))
        if found:
            return found
    return [Difference(path, "", "text", f"{len(old)} bytes on disk, {len(fresh)} generated")]


def _schema_differences(path: Path, before: Any, after: Any) -> Iterator[Difference]:
    old, new = _flat(before), _flat(after)
    for key in sorted(old.keys() - new.keys()):
        yield Difference(path, key, "removed-key", "on disk only")
    for key in sorted(new.keys() - old.keys()):
        yield Difference(path, key, "new-key", f"default {json.dumps(new[key].get('default'))}")
    for key in sorted(old.keys() & new.keys()):
        for kind, names in (
            ("type", ("type",)),
            ("default", ("default",)),
            ("enum", ("enum",)),
            ("bounds", _BOUNDS),
        ):
            was, now = ({name: node.get(name) for name in names} for node in (old[key], new[key]))
            if was != now:
                changed = {name: (was[name], now[name]) for name in names if was[name] != now[name]}
                detail = ", ".join(f"{name} {json.dumps(a)} -> {json.dumps(b)}" for name, (a, b) in changed.items())
                yield Difference(path, key, kind, detail)
    if isinstance(before, Mapping) and before.get("x-rules") != after.get("x-rules"):
        yield Difference(path, "", "rules", "the cross-field rules changed")


def _flat(node: Any, prefix: str = "") -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    properties = node.get("properties", {}) if isinstance(node, Mapping) else {}
    for name, child in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(child, Mapping):
            found[prefix + name] = child
            found |= _flat(child, f"{prefix}{name}.")
    return found

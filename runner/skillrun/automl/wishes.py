"""What the user typed after ``--search`` and ``--freeze``, by full key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skillrun import bank
from skillrun.errors import UsageError
from skillrun.overrides import leaves, unknown_key


def by_key(texts: Sequence[str], schema: Mapping[str, Any], flag: str) -> dict[str, str]:
    """``KEY=TEXT`` or ``KEY`` → text, empty for a key alone; shorthand keys count.

    Raises:
        UsageError: a key is unknown or given twice, or a text is missing or too much.
    """
    nodes = [key for key, _ in leaves(schema)]
    model, action = _identity(schema)
    short = bank.shorthand(model, action) if model else {}
    found: dict[str, str] = {}
    for item in texts:
        word, equals, text = (part.strip() for part in item.partition("="))
        key = short.get(word, word)
        if key not in nodes:
            inside = [name for name in nodes if name.startswith(f"{key}.")]
            if inside:
                message = f"{flag} {word!r} names a section, not a key"
                raise UsageError("E_SPEC_SECTION", message, f"{flag} {inside[0]}")
            raise unknown_key(word, [*nodes, *short], place=f"{flag} {item}", action=action)
        if key in found:
            raise UsageError("E_SEARCH_CONFLICT", f"{flag} names {key} twice", f"leave out one of them: {flag} {item}")
        if equals and (not text or flag == "--freeze"):
            fix = f"to set a value: {key}={text}" if text else f"{flag} {key}=LOW..HIGH"
            raise UsageError("E_SEARCH_SYNTAX", f"{flag} {item}: {'a key alone' if text else 'no range'}", fix)
        found[key] = text
    return found


def _identity(schema: Mapping[str, Any]) -> tuple[str, str]:
    """Model and action, as the schema's ``$id`` says them; empty for a schema of neither."""
    model, _, action = str(schema.get("$id", "")).removeprefix("urn:skillrun:").partition(":")
    return (model, action) if model in bank.models() else ("", "")

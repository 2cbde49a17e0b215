"""From what a person types or pastes to an entry."""

from __future__ import annotations

import re
from difflib import get_close_matches

from skillrun.catalogue.entries import Entry, entries
from skillrun.errors import NotFoundError

_CODE = re.compile(r"(?<![A-Z0-9_])[EW]_[A-Z0-9_]*[A-Z0-9]", re.IGNORECASE)
NEAREST = 3


def explain(text: str) -> Entry:
    """The entry of a code in any case, or of the first known code in a pasted line.

    Raises:
        NotFoundError: ``E_CODE_UNKNOWN``: no known code is in the text; the message names the nearest.
    """
    known = entries()
    named = [word.upper() for word in _CODE.findall(text)]
    found = next((known[code] for code in named if code in known), None)
    if found:
        return found
    near = _nearest(named[0] if named else text.strip().upper(), known)
    said = f"; near: {', '.join(near)}" if near else ""
    shown = named[0] if named else text.strip()[:80]
    fix = f"skillrun explain {near[0]}" if near else "skillrun explain"
    raise NotFoundError("E_CODE_UNKNOWN", f"there is no code {shown!r}{said}", fix)


def _nearest(word: str, known: dict[str, Entry]) -> list[str]:
    """Codes spelt alike, with or without their first letter; else those that hold all parts of the word."""
    for candidate in (word, f"E_{word}", f"W_{word}"):
        close = get_close_matches(candidate, known, n=NEAREST, cutoff=0.75)
        if close:
            return close
    parts = [part for part in re.split(r"[^A-Z0-9]+", word) if len(part) > 1]
    inside = [code for code in known if parts and all(part in code for part in parts)]
    return inside[:NEAREST] or get_close_matches(word, known, n=NEAREST, cutoff=0.5)

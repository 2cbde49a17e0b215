"""Markdown whose structure no name can change: file names, labels and reasons come from anywhere."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 160
_SPECIAL = re.compile(r"([\\`*_\[\]~#$|])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain(text: str) -> str:
    """One line without invisible characters: those that control a terminal or turn the direction become ``\\uXXXX``."""
    shown = "".join(_visible(letter) for letter in text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def _visible(letter: str) -> str:
    if letter in "\r\n\t":
        return " "
    # Control, format (bidirectional marks, zero width), surrogate, line and paragraph separators.
    hidden = unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return f"\\u{ord(letter):04x}" if hidden else letter


def escaped(text: object) -> str:
    """Text that is shown as it is, also in a table."""
    shown = "".join(_ENTITIES.get(letter, letter) for letter in plain(str(text)))
    # An address would become a link.
    return _SPECIAL.sub(r"\\\1", shown).replace("://", ":&#47;&#47;").replace("@", "&#64;")


def code(text: object) -> str:
    """A path, digest or key as code; as escaped text where it holds what code can not show in a table."""
    shown = plain(str(text))
    return f"`{shown}`" if shown.strip() and not re.search(r"[`|\\]", shown) else escaped(shown)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of cells that are Markdown already, and a blank line; nothing where there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*head, *lines, ""] if lines else []


def bullets(items: Iterable[str]) -> list[str]:
    """A list of items that are Markdown already, and a blank line."""
    return [*(f"- {item}" for item in items), ""]


def fenced(text: str) -> list[str]:
    """A block of code with a fence that is longer than any in it, and a blank line."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}bash", text, fence, ""]

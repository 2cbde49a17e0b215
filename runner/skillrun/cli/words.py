"""The words of a command line: which command they name, and where ``--json`` stands among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def descend(command: Any, words: Sequence[str]) -> tuple[Any, list[str], list[str]]:
    """The command that words name.

    Args:
        command: a group, as typer builds it.

    Returns:
        The command (a group, where the words end too early or go on with an unknown one), the words that name it,
        and the words after those. ``--json`` is passed over.
    """
    named, rest = list[str](), list(words)
    place = 0
    while hasattr(command, "commands") and place < len(rest):
        if rest[place] == "--json":
            place += 1
        elif rest[place] in command.commands:
            command = command.commands[rest[place]]
            named.append(rest.pop(place))
        else:
            break
    return command, named, rest


def json_last(command: Any, words: Sequence[str]) -> list[str]:
    """The words with ``--json`` after the command's name, where it stood before it; only commands have the option."""
    found, named, rest = descend(command, words)
    if hasattr(found, "commands"):
        rest = [word for word in rest if word != "--json"]
    return [*named, *rest]

"""Reads a command as the command line would, without running it: what a skill or a page tells to type can be typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from skillrun import bank
from skillrun.errors import SkillrunError, UsageError

PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_/.]*")


def problem_of(words: Sequence[str]) -> str:
    """Why the command line would refuse a command, or an empty text.

    Args:
        words: the program (``skillrun``, or a model's own command) and its arguments. Words in capitals stand for
            values; no file is looked for. The keys of ``key=value`` are looked up in the action's schema.
    """
    from typer._click.exceptions import ClickException

    try:
        if words[0] == "skillrun":
            return _own(list(words[1:]))
        return _container(words[0], list(words[1:]))
    except ClickException as error:
        return error.format_message()
    except SkillrunError as error:
        return error.message


@cache
def tree() -> Any:
    from typer.main import get_command

    from skillrun.cli.app import build

    return get_command(build())


def _own(words: list[str]) -> str:
    command, parent, path = tree(), None, list[str]()
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"there is no command {' '.join(['skillrun', *path, words[0]])!r}."
        parent = command.make_context(command.name, [], parent, resilient_parsing=True)
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    if "--help" in words or (not path and words == ["--version"]):
        return ""
    if hasattr(command, "commands"):
        return f"{' '.join(['skillrun', *path])!r} needs a further word."
    values = command.make_context(command.name, words, parent, resilient_parsing=False).params
    action = _action(path, values)
    if action:
        _check_keys(action, values.get("overrides") or ())
    return ""


def _action(path: list[str], values: dict[str, Any]) -> tuple[str, str] | None:
    """(model, action) of a command that takes ``key=value``, else None."""
    if "overrides" not in values:
        return None
    spoken = path[-1] if path[-1] != "spec" else str(values["action"])
    if path[0] in ("model", "deploy"):
        path = path[1:]
        spoken = f"trt_{spoken}" if spoken in ("evaluate", "inference") and "deploy" in path else spoken
    return path[0], bank.resolve_action(path[0], spoken, values.get("task") or None)


def _container(model: str, words: list[str]) -> str:
    """A model's own command: ``MODEL ACTION -e SPEC key=value``."""
    actions = [bank.contract(model, name) for name in bank.actions(model)]
    chosen = [item.name for item in actions if words and item.subcommand == words[0]]
    if not chosen:
        return f"{model} has no action {' '.join(words[:1])!r}."
    if len(words) < 3 or words[1] != "-e":
        return f"{model} {words[0]} needs -e SPEC."
    problems = []
    for name in chosen:
        try:
            _check_keys((model, name), words[3:])
        except SkillrunError as error:
            problems.append(error.message)
    return problems[0] if len(problems) == len(chosen) else ""


def _check_keys(action: tuple[str, str], overrides: Sequence[str]) -> None:
    from jsonschema import Draft202012Validator

    from skillrun.overrides import leaves, parse_value, split_override, unknown_key

    nodes, short = dict(leaves(bank.schema(*action))), bank.shorthand(*action)
    for text in overrides:
        key, value = split_override(text)
        node = nodes.get(short.get(key, key))
        if node is None:
            raise unknown_key(key, sorted({*nodes, *short}), place="command line", action=action[1])
        parsed = parse_value(value, node)
        if not PLACEHOLDER.fullmatch(value) and not Draft202012Validator(node).is_valid(parsed):
            raise UsageError("E_SPEC_TYPE", f"{key} does not take {value!r}.", "skillrun explain E_SPEC_TYPE")

"""What is wrong with a command line, told like every other error: which word, and the command that was meant."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from typer._click.exceptions import MissingParameter, NoSuchOption
from typer.exceptions import TyperException

from skillrun.cli.parsing import PLACEHOLDER, problem_of, tree
from skillrun.cli.words import descend
from skillrun.errors import UsageError

PROGRAM = "skillrun"


def usage_error(error: TyperException, words: Sequence[str]) -> UsageError:
    """The error for what typer refused.

    Args:
        error: as typer raised it.
        words: the command line without the program.
    """
    command, named, rest = descend(tree(), words)
    path = " ".join([PROGRAM, *named])
    if isinstance(error, NoSuchOption):
        return _unknown_option(error, words, path)
    if isinstance(error, MissingParameter):
        return _missing(error, words, path)
    if not hasattr(command, "commands"):
        if str(error).startswith("Got unexpected"):
            what = f"{path}: {error.format_message()[0].lower()}{error.format_message()[1:]}"
            return UsageError("E_ARG_EXTRA", what, f"{path} --help")
        return UsageError("E_ARG_VALUE", f"{path}: {_flat(error.format_message())}", f"{path} --help")
    return _unknown_command(command, named, [word for word in rest if word != "--json"])


def _flat(text: str) -> str:
    return " ".join(text.split())


def _unknown_option(error: NoSuchOption, words: Sequence[str], path: str) -> UsageError:
    name, near = error.option_name, list(error.possibilities or ())
    meant = f"; did you mean {near[0]}?" if near else "."
    better = [f"{near[0]}{word[len(name) :]}" if near and word.split("=")[0] == name else word for word in words]
    return UsageError("E_ARG_OPTION", f"{path} has no option {name}{meant}", _typed_or_help(better, path, bool(near)))


def _missing(error: MissingParameter, words: Sequence[str], path: str) -> UsageError:
    parameter: Any = error.param
    if parameter is None:
        return UsageError("E_ARG_MISSING", f"{path}: {_flat(error.format_message())}", f"{path} --help")
    shown = parameter.metavar or parameter.name.upper()
    option = [parameter.opts[0]] if parameter.param_type_name == "option" else []
    about = f": {parameter.help.rstrip('.')}." if parameter.help else "."
    what = f"{path} needs {' '.join([*option, shown])}{about}"
    whole = [*words, *option, shown]
    return UsageError("E_ARG_MISSING", what, _typed_or_help(whole, path, bool(PLACEHOLDER.fullmatch(shown))))


def _unknown_command(group: Any, named: list[str], rest: list[str]) -> UsageError:
    path = " ".join([PROGRAM, *named])
    there = [name for name, command in group.commands.items() if not command.hidden]
    if not rest:
        return UsageError("E_ARG_COMMAND", f"{path} needs a command: {', '.join(there)}.", f"{path} --help")
    word, after = rest[0], rest[1:]
    meant = next(_meant(group, named, word), None)
    told = f"did you mean {' '.join([PROGRAM, *meant])}?" if meant else f"it has {', '.join(there)}."
    fix = _typed_or_help([*(meant or named), *after], path, bool(meant))
    return UsageError("E_ARG_COMMAND", f"{path} has no command {word!r}; {told}", fix)


def _meant(group: Any, named: list[str], word: str) -> Iterator[list[str]]:
    """Commands of nearly this name: in the group first, then of this very name anywhere below it."""
    for name in get_close_matches(word, group.commands):
        yield [*named, name]
    for path in _leaves(group, named):
        if path[-1] == word:
            yield path


def _leaves(command: Any, path: list[str]) -> Iterator[list[str]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from _leaves(below, [*path, name])
    if not hasattr(command, "commands"):
        yield path


def _typed_or_help(words: Sequence[str], path: str, likely: bool) -> str:
    """The mended command line where it can be read as a whole, else the command's help."""
    whole = [PROGRAM, *words]
    return shlex.join(whole) if likely and not problem_of(whole) else f"{path} --help"

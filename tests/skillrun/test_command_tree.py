"""The command tree: what is built for one typed word is that part of the whole."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from skillrun.cli.app import build

WHOLE: Any = get_command(build())
GROUPS = [name for name, command in WHOLE.commands.items() if hasattr(command, "commands")]


def test_every_word_is_known_whatever_was_typed() -> None:
    bare: Any = get_command(build(""))
    told = {name: command.get_short_help_str() for name, command in bare.commands.items()}
    assert told == {name: command.get_short_help_str() for name, command in WHOLE.commands.items()}
    assert not any(bare.commands[name].commands for name in GROUPS)


@pytest.mark.parametrize("name", GROUPS)
def test_the_group_that_was_typed_has_all_its_commands(name: str) -> None:
    built: Any = get_command(build(name))
    wanted = WHOLE.commands[name].commands
    found = built.commands[name].commands
    assert wanted and list(found) == list(wanted)
    for command in wanted:
        assert [one.name for one in found[command].params] == [one.name for one in wanted[command].params]

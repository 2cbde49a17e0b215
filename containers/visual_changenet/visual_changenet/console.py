"""The only module that writes to the terminal."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """One line on stdout."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say_if_terminal(line: str) -> None:
    """One line on stdout where a person watches; files and pipes are spared."""
    if sys.stdout.isatty():
        say(line)


def complain(line: str) -> None:
    """One line on stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()

"""The command line: a thin face over `skillrun.api`."""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``skillrun`` command."""
    from skillrun.cli.app import run

    run()

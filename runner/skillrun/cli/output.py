"""All that the command line says. stdout carries data only; talk, hints and errors go to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

SCHEMA_VERSION = 1


class Output:
    """Where a command's answer goes.

    Args:
        as_json: one JSON document on stdout, with ``schema_version``; no talk on stdout in any case.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def data(self, value: dict[str, Any], text: str) -> None:
        """The answer: the JSON object with ``--json``, else the text."""
        shown = json.dumps({"schema_version": SCHEMA_VERSION, **value}, indent=2, ensure_ascii=False, default=str)
        _write(sys.stdout, shown if self.as_json else text)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
        """Rows as a table; with ``--json`` a list of objects under ``name``."""
        if self.as_json:
            self.data({name: [dict(zip(columns, row, strict=True)) for row in rows]}, "")
        elif not rows:
            self.say(empty)
        else:
            self._rich_table(columns, rows)

    def _rich_table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
        Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)

    def say(self, text: str) -> None:
        """Talk for a person."""
        _write(sys.stderr, text)

    def hint(self, text: str) -> None:
        """The next command to type."""
        _write(sys.stderr, f"next: {text}")

    def error(self, error: dict[str, Any]) -> None:
        """One line that says what is wrong, its details, one that mends it. With ``--json`` the object on stdout."""
        if self.as_json:
            _write(sys.stdout, json.dumps({"schema_version": SCHEMA_VERSION, "error": error}, ensure_ascii=False))
        message = str(error["message"]).replace("\n", " ")
        _write(sys.stderr, f"error[{error['code']}]: {message}")
        for line in error.get("details", ()):
            _write(sys.stderr, f"  {line}")
        if error.get("fix"):
            _write(sys.stderr, f"  fix: {error['fix']}")


def _write(stream: Any, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, errors="replace").decode(encoding) + "\n")
    stream.flush()

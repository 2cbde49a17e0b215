"""All that the command line says. stdout carries data only; talk, hints and errors go to stderr."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BytesIO, TextIOWrapper
from typing import Any, ClassVar

from skillrun.errors import SkillrunError

SCHEMA_VERSION = 1


class Output:
    """Where a command's answer goes.

    Args:
        as_json: one JSON document on stdout, with ``schema_version``; no talk on stdout in any case.
    """

    answered: ClassVar[bool] = False
    """Whether this process has written its JSON document; an error after that is said on stderr only."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def data(self, value: dict[str, Any], text: str) -> None:
        """The answer: the JSON object with ``--json``, else the text."""
        _answer(_document(value, indent=2) if self.as_json else text)
        Output.answered = Output.answered or self.as_json

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
        terminal = sys.stdout is not None and sys.stdout.isatty()
        # Said outright: an environment that asks for colours would put escape codes into a file or a pipe.
        drawn = TextIOWrapper(BytesIO(), encoding=_encoding(sys.stdout), errors="replace")
        Console(file=drawn, force_terminal=terminal, width=None if terminal else 160).print(table)
        drawn.seek(0)
        _answer(drawn.read().removesuffix("\n"))

    def say(self, text: str) -> None:
        """Talk for a person."""
        _tell(text)

    def hint(self, text: str) -> None:
        """The next command to type."""
        _tell(f"next: {text}")

    def error(self, error: dict[str, Any]) -> None:
        """A line that says what is wrong, its details, one that mends it. With ``--json`` also the object on stdout."""
        message = str(error["message"]).replace("\n", " ")
        _tell(f"error[{error['code']}]: {message}")
        for line in error.get("details", ()):
            _tell(f"  {line}")
        if error.get("fix"):
            _tell(f"  fix: {error['fix']}")
        if self.as_json:
            _answer(_document({"error": error}))
            Output.answered = True


def _document(value: Mapping[str, Any], indent: int | None = None) -> str:
    """The JSON text; a number that JSON has no word for is null."""
    whole = {"schema_version": SCHEMA_VERSION, **value}
    try:
        return json.dumps(whole, indent=indent, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(whole), indent=indent, ensure_ascii=False, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _answer(text: str) -> None:
    """A text on stdout.

    Raises:
        BrokenPipeError: the reader went away, as ``head`` does; that is no error.
        SkillrunError: ``E_STDOUT``: stdout is closed, or on a full disk.
    """
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        _write(sys.stdout, text)
    except OSError as error:
        _give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        what = f"the answer can not be written to stdout: {error.strerror or error}."
        raise SkillrunError("E_STDOUT", what, "skillrun doctor") from error


def _tell(text: str) -> None:
    """A text on stderr; where nobody can hear it, the work goes on."""
    try:
        _write(sys.stderr, text)
    except OSError:
        _give_up(sys.stderr)


def _give_up(stream: Any) -> None:
    """Lead a stream to nowhere: what is left in its buffer would fail once more at the end of the process."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _encoding(stream: Any) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _write(stream: Any, text: str) -> None:
    encoding = _encoding(stream)
    stream.write(text.encode(encoding, errors="replace").decode(encoding) + "\n")
    stream.flush()

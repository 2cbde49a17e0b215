"""``skillrun report``: one page about a run, or about two evaluations side by side."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from skillrun.cli.options import Json, Workspace
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from skillrun.report import Written

_COMPARE = "compare"
_BROWSE = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"


def report(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN | compare RUN RUN",
            help="Run id, its beginning, run folder, or 'last'; after 'compare' two evaluations of the same pairs.",
        ),
    ],
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    json: Json = False,
    workspace: Workspace = None,
) -> None:
    """One HTML page that loads nothing, and report.json, into the run's folder."""
    from skillrun.runfolder import workspace as resolve

    output = Output(json)
    written = _write(words, resolve(workspace))
    files = {"page": str(written.page), "json": str(written.json)}
    output.data({**files, "report": written.numbers}, str(written.page))
    if show:
        _open(written.page, output)
    elif not json:
        output.hint(f"skillrun report {' '.join(words)} --open, or send the file: it needs nothing else")


def _write(words: list[str], root: Path) -> Written:
    from skillrun.errors import UsageError
    from skillrun.report import compare, write
    from skillrun.runfolder import find_run

    if words[0] == _COMPARE and len(words) == 3:
        return compare(find_run(words[1], root), find_run(words[2], root))
    if len(words) == 1 and words[0] != _COMPARE:
        return write(find_run(words[0], root))
    raise UsageError(
        "E_ARG_REPORT",
        f"a report is of one run, or compares two; this names {' '.join(words)!r}",
        "skillrun report last, or skillrun report compare RUN RUN",
    )


def _open(page: Path, output: Output) -> None:
    import subprocess

    # In a process of its own, because a browser may be one of the terminal: it would write to stdout, and without a
    # terminal wait for keys that nobody can press.
    words = [sys.executable, "-c", _BROWSE, page.as_uri()]
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not output.as_json
    ends = None if terminal else subprocess.DEVNULL
    if subprocess.run(words, stdin=ends, stdout=ends, stderr=ends, check=False).returncode != 0:
        output.say(f"no browser was found here; open {page}")

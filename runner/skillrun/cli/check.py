"""How findings are shown: lines on a terminal, a table, SARIF in a file; and ``--check`` and ``--fix`` of an action."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.examine import Examination
    from skillrun.findings import Finding
    from skillrun.prepare import Request

BAR_AFTER_S = 2.0
LOOKING, COMPARING = "looking at pictures", "comparing pictures"
ROWS_PER_CODE = 3
COLUMNS = ("code", "severity", "place", "message", "fix")

Check = Annotated[
    bool, typer.Option("--check", help="Look at spec, data and host, show all that is wrong; start and write nothing.")
]
Fix = Annotated[bool, typer.Option("--fix", help="Apply the safe fixes (key=value) to this request, and say each.")]
Waive = Annotated[
    list[str] | None,
    typer.Option("--waive", metavar="CODE", help="Let this finding pass; recorded in the plan; repeatable."),
]
Sarif = Annotated[
    str, typer.Option("--sarif", metavar="FILE", help="With --check: write the findings as SARIF; - for stdout.")
]


@dataclass(frozen=True)
class CheckOptions:
    """What a check does besides showing."""

    fix: bool = False
    sarif: str = ""


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Each finding with its code, message and place, and below it what mends it."""
    for finding in findings:
        place = _place(finding)
        where = f"  ({place})" if place and finding.file not in finding.message else ""
        yield f"{finding.severity}[{finding.code}] {finding.message}{where}"
        if finding.fix:
            yield f"  fix: {finding.fix}"


def _place(finding: Finding) -> str:
    return f"{finding.file}{f', line {finding.line}' if finding.line else ''}"


def write_sarif(findings: Sequence[Finding], target: str, output: Output) -> None:
    """The findings as SARIF in a file, or on stdout for ``-``.

    Raises:
        UsageError: ``E_SARIF_FILE``: the file can not be written.
    """
    from skillrun.errors import UsageError
    from skillrun.findings import to_sarif
    from skillrun.runfolder import write_atomic

    text = json.dumps(to_sarif(findings), indent=2, ensure_ascii=False)
    if target == "-":
        return Output().data({}, text)
    try:
        write_atomic(Path(target), text + "\n")
    except OSError as error:
        what = f"--sarif {target}: {error.strerror or error}"
        raise UsageError("E_SARIF_FILE", what, "--sarif - writes it to stdout") from error
    return output.say(f"SARIF written to {target}")


def mended(request: Request, output: Output) -> Request:
    """The request with the safe fixes, each of them said."""
    from skillrun.cli.launch_talk import LaunchTalk
    from skillrun.examine import mend

    with LaunchTalk(output) as talk, _Bar() as bar:
        better, said, _ = mend(request, talk, bar.show)
    for line in said:
        output.say(f"fixed: {line}")
    return better


def check(request: Request, output: Output, options: CheckOptions) -> None:
    """Show all findings of a request; ends with the exit code of its worst error."""
    from skillrun.cli.launch_talk import LaunchTalk
    from skillrun.examine import examine, mend

    said: list[str] = []
    with LaunchTalk(output) as talk, _Bar() as bar:
        if options.fix:
            _, said, found = mend(request, talk, bar.show)
        else:
            found = examine(request, talk, bar.show)
    for line in said:
        output.say(f"would fix: {line}")
    if options.sarif:
        write_sarif(found.findings, options.sarif, output)
    if options.sarif != "-":
        _show(found, said, output)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def _show(found: Examination, said: Sequence[str], output: Output) -> None:
    if output.as_json:
        return output.data({**found.to_json(), "fixed": list(said)}, "")
    if found.findings:
        _table(list(_rows(found)), output)
    if found.plan is None:
        output.say("stopped there: without these errors mended there is no plan, and nothing else was looked at")
    return output.say(_verdict(found))


def _table(rows: Sequence[tuple[str, str, str, str, str]], output: Output) -> None:
    """A column in which nothing stands is left out: findings about the spec have no file."""
    filled = [place for place in range(len(COLUMNS)) if any(row[place] for row in rows)]
    output.table(
        "findings", [COLUMNS[place] for place in filled], [[row[place] for place in filled] for row in rows], ""
    )


def _rows(found: Examination) -> Iterator[tuple[str, str, str, str, str]]:
    """The first few findings of each code, and how many more there are."""
    counts = Counter(one.code for one in found.findings)
    shown: Counter[str] = Counter()
    for one in found.findings:
        shown[one.code] += 1
        place = _place(one)
        severity = "waived" if one.code in found.waived else one.severity
        if shown[one.code] <= ROWS_PER_CODE:
            yield one.code, severity, place, one.message.removeprefix(f"{place}: "), one.fix
        elif shown[one.code] == ROWS_PER_CODE + 1:
            more = counts[one.code] - ROWS_PER_CODE
            yield one.code, severity, "", f"and {more} more: --json or --sarif FILE has them", one.fix


def _verdict(found: Examination) -> str:
    waived = sum(one.code in found.waived for one in found.findings)
    errors = sum(one.severity == "error" and one.code not in found.waived for one in found.findings)
    warnings = len(found.findings) - waived - errors
    counted = (*_counted(errors, "error"), *_counted(warnings, "warning"), *([f"{waived} waived"] if waived else []))
    told = ", ".join(counted) or "nothing found"
    return f"{'would be refused' if errors else 'ok'}: {told} (nothing was started)"


def _counted(number: int, word: str) -> Iterator[str]:
    if number:
        yield f"{number} {word}{'s' if number > 1 else ''}"


class _Bar:
    """Pictures looked at, as a bar on a terminal once it takes longer than 2 s."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int) -> None:
        """How many pictures are done."""
        if self._bar is None:
            if not sys.stderr.isatty() or time.monotonic() - self._began < BAR_AFTER_S:
                return
            self._bar = _new_bar()
            self._bar.start()
            self._task = self._bar.add_task(LOOKING, total=total)
        words = LOOKING if done < total else COMPARING
        self._bar.update(self._task, description=words, completed=done, total=total)


def _new_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)

"""Tools about runs and searches that go on: which there are, how far one is, what it said; and stopping it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from skillrun.agent import studies
from skillrun.agent.results import Reference, numbers_of
from skillrun.agent.tool import Answer, Given, cut
from skillrun.errors import SkillrunError
from skillrun.runfolder import RunFolder, list_runs
from skillrun.watch import RunStatus, follow, progress_file, read_events, status

if TYPE_CHECKING:
    from skillrun.automl.study import StudyFolder

WAIT_S = 50
LINES, LINE = 100, 300
# How much of the end of the events is read for the last number.
TAIL_BYTES = 1 << 16
_STUDY_POLL_S = 0.5


class WaitGiven(Given):
    run: str = Reference
    timeout_s: float = Field(30, ge=0, le=WAIT_S, description="Seconds to wait for the end, 0-50; 0: status now.")


class WaitAnswer(Answer):
    run_id: str
    state: str
    done: bool
    action: str
    reason: str
    progress: dict[str, float] | None = None
    metrics: dict[str, float] | None = None
    error: dict[str, Any] | None = None
    next: str


def wait_run(given: WaitGiven, root: Path) -> WaitAnswer:
    """Waits for the end of a run, 50 s at most, and says its state (planned, launched, running, succeeded, failed,
    cancelled, lost; a search may be interrupted), progress and numbers. Call it until done."""
    run, until = studies.find(given.run, root), time.monotonic() + given.timeout_s
    if not isinstance(run, RunFolder):
        return _wait_study(run, until)
    offset = _size(progress_file(run))
    for _ in follow(run, offset=offset, stop=lambda: time.monotonic() >= until):
        if time.monotonic() >= until:
            break
    found = status(run)
    return WaitAnswer(
        run_id=found.run_id,
        state=found.state,
        done=found.done,
        action=found.action,
        reason=cut(found.reason),
        progress=None if found.done else _progress(run),
        metrics=numbers_of(found.metrics) if found.done else None,
        error=_error(found),
        next=_next(found.state, done=found.done),
    )


def _wait_study(study: StudyFolder, until: float) -> WaitAnswer:
    while (state := studies.state(study)) == "running" and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _STUDY_POLL_S))
    done = state != "running"
    return WaitAnswer(
        run_id=study.study_id,
        state=state,
        done=done,
        action=study.settings().action,
        reason="",
        progress=studies.progress(study),
        metrics=numbers_of(studies.metrics(study)) if done else None,
        error=studies.error(study) if done else None,
        next=_next(state, done=done),
    )


def course(given: WaitGiven, root: Path) -> str:
    """How far the run is, in one line: its state, then the numbers of its last event."""
    run = studies.find(given.run, root)
    if isinstance(run, RunFolder):
        return _line(status(run).state, _progress(run))
    return _line(studies.state(run), studies.progress(run))


def _line(state: str, numbers: Mapping[str, float]) -> str:
    return f"{state}: {', '.join(f'{name} {value:.5g}' for name, value in numbers.items())}" if numbers else state


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _progress(run: RunFolder) -> dict[str, float]:
    """The numbers of the last event; epochs and steps count from 1."""
    events, _ = read_events(run.events, max(0, _size(run.events) - TAIL_BYTES))
    told: dict[str, Any] = next((event for event in reversed(events) if event.get("event") == "progress"), {})
    return {name: value for name, value in told.items() if isinstance(value, int | float)}


def _error(found: RunStatus) -> dict[str, Any] | None:
    """An error of the run in the shape of an error of a call."""
    if found.error is None:
        return None
    told = {name: cut(str(found.error.get(name) or "")) for name in ("code", "message", "fix")}
    return {**told, "retryable": found.state in ("cancelled", "lost")}


def _next(state: str, *, done: bool) -> str:
    if not done:
        return "skillrun_wait_run again"
    if state == "succeeded":
        return "skillrun_get_result"
    return "skillrun_read_log"


class LogGiven(Given):
    run: str = Reference
    lines: int = Field(40, ge=1, le=LINES, description="How many lines, 1-100.")
    cursor: int | None = Field(None, ge=0, description="next_cursor of the page before; null: the last lines.")


class LogAnswer(Answer):
    run_id: str
    lines: list[str]
    next_cursor: int
    more: bool


def read_log(given: LogGiven, root: Path) -> LogAnswer:
    """Lines of a run's output: the last ones, or those after a cursor. Later lines follow next_cursor."""
    found = studies.find(given.run, root)
    log, name = (found.log, found.run_id) if isinstance(found, RunFolder) else (found.log, found.study_id)
    size, budget = _size(log), given.lines * LINE * 4
    start = max(0, size - budget) if given.cursor is None else min(given.cursor, size)
    data = b""
    if size:
        with log.open("rb") as stream:
            stream.seek(start)
            data = stream.read(budget)
    pieces = data.splitlines(keepends=True)
    kept = pieces[-given.lines :] if given.cursor is None else pieces[: given.lines]
    end = start + (len(data) if given.cursor is None else sum(map(len, kept)))
    shown = [cut(piece.decode("utf-8", errors="replace").rstrip("\r\n"), LINE) for piece in kept]
    return LogAnswer(run_id=name, lines=shown, next_cursor=end, more=end < size)


class StopGiven(Given):
    run: str = Reference


class RunAnswer(Answer):
    run_id: str
    state: str
    action: str
    created: str
    reason: str


def stop_run(given: StopGiven, root: Path) -> RunAnswer:
    """Stops a run; a training writes a checkpoint first. A search stops with its trials, and can be resumed. What
    ended stays as it is."""
    from skillrun.launch import stop

    run = studies.find(given.run, root)
    if isinstance(run, RunFolder):
        stop(run)
    else:
        studies.stop(run)
    return _short(run)


class ListGiven(Given):
    limit: int = Field(10, ge=1, le=50, description="How many, 1-50.")
    cursor: str = Field("", description="next_cursor of the page before.")


class ListAnswer(Answer):
    runs: list[RunAnswer]
    in_all: int
    next_cursor: str | None = None


def list_the_runs(given: ListGiven, root: Path) -> ListAnswer:
    """The runs and searches of the workspace, newest first, with state and reason."""
    from skillrun.automl.study import list_studies

    every: list[RunFolder | StudyFolder] = [*list_runs(root), *list_studies(root)]
    every.sort(key=lambda one: one.path.name, reverse=True)
    rest = list(dropwhile(lambda one: bool(given.cursor) and one.path.name >= given.cursor, every))
    shown = [_short(one) for one in rest[: given.limit]]
    return ListAnswer(runs=shown, in_all=len(every), next_cursor=shown[-1].run_id if len(rest) > given.limit else None)


def _short(run: RunFolder | StudyFolder) -> RunAnswer:
    if isinstance(run, RunFolder):
        found = status(run)
        return RunAnswer(
            run_id=found.run_id,
            state=found.state,
            action=found.action,
            created=found.created,
            reason=cut(found.reason, 160),
        )
    try:
        settings = run.settings()
    except SkillrunError as error:  # another version wrote it
        return RunAnswer(run_id=run.study_id, state="unreadable", action="", created="", reason=cut(error.message, 160))
    return RunAnswer(
        run_id=run.study_id,
        state=studies.state(run),
        action=settings.action,
        created=settings.created,
        reason=f"search: {settings.budget.text()}",
    )

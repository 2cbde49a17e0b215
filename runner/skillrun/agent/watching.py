"""Tools about runs: which there are, how far one is, what it said, what came out; and stopping it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from itertools import dropwhile, islice
from pathlib import Path
from typing import Any

from pydantic import Field

from skillrun.agent.tool import Answer, Given, cut
from skillrun.runfolder import RunFolder, find_run, list_runs, read_json
from skillrun.watch import RunStatus, follow, progress_file, read_events, status

WAIT_S = 50
LINES, LINE = 100, 300
METRICS = 24
# How much of the end of the events is read for the last number.
TAIL_BYTES = 1 << 16
Reference = Field(description="Run id, its unique beginning, folder, or last.")


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
    cancelled, lost), progress and numbers. Call it until done."""
    run = find_run(given.run, root)
    until = time.monotonic() + given.timeout_s
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
        metrics=_numbers(found.metrics) if found.done else None,
        error=_error(found),
        next=_next(found),
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _progress(run: RunFolder) -> dict[str, float]:
    """The numbers of the last event; epochs and steps count from 1."""
    events, _ = read_events(run.events, max(0, _size(run.events) - TAIL_BYTES))
    told: dict[str, Any] = next((event for event in reversed(events) if event.get("event") == "progress"), {})
    return {name: value for name, value in told.items() if isinstance(value, int | float)}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    pairs = ((name, value) for name, value in metrics.items() if isinstance(value, int | float))
    return dict(islice(pairs, METRICS))


def _error(found: RunStatus) -> dict[str, Any] | None:
    """An error of the run in the shape of an error of a call."""
    if found.error is None:
        return None
    told = {name: cut(str(found.error.get(name) or "")) for name in ("code", "message", "fix")}
    return {**told, "retryable": found.state in ("cancelled", "lost")}


def _next(found: RunStatus) -> str:
    if not found.done:
        return "skillrun_wait_run again"
    if found.state == "succeeded":
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
    run = find_run(given.run, root)
    size, budget = _size(run.log), given.lines * LINE * 4
    start = max(0, size - budget) if given.cursor is None else min(given.cursor, size)
    data = b""
    if size:
        with run.log.open("rb") as stream:
            stream.seek(start)
            data = stream.read(budget)
    pieces = data.splitlines(keepends=True)
    kept = pieces[-given.lines :] if given.cursor is None else pieces[: given.lines]
    end = start + (len(data) if given.cursor is None else sum(map(len, kept)))
    shown = [cut(piece.decode("utf-8", errors="replace").rstrip("\r\n"), LINE) for piece in kept]
    return LogAnswer(run_id=run.run_id, lines=shown, next_cursor=end, more=end < size)


class ResultGiven(Given):
    run: str = Reference
    report: bool = Field(False, description="Also write the HTML report.")


class Files(Answer):
    kind: str
    count: int
    first: str


class ResultAnswer(Answer):
    run_id: str
    state: str
    action: str
    seconds: float | None = None
    metrics: dict[str, float]
    metrics_in_all: int
    best_checkpoint: str | None = None
    last_checkpoint: str | None = None
    checkpoints: int
    files: list[Files]
    warnings: list[str]
    report: str | None = None


def get_result(given: ResultGiven, root: Path) -> ResultAnswer:
    """What came out of a run: metrics, paths of its checkpoints and files, warnings about the numbers, and with
    report=true the path of an HTML report."""
    from skillrun.inspection.warnings import outcome_warnings

    run = find_run(given.run, root)
    found, result = status(run), read_json(run.result) or {}
    page = None
    if given.report:
        from skillrun.report import write

        page = str(write(run).page)
    checkpoints = result.get("checkpoints") or []
    warned = outcome_warnings(found.metrics, found.run_id, found.task, None) if found.state == "succeeded" else []
    return ResultAnswer(
        run_id=found.run_id,
        state=found.state,
        action=found.action,
        seconds=result.get("seconds"),
        metrics=_numbers(found.metrics),
        metrics_in_all=len(found.metrics),
        best_checkpoint=_marked(run, checkpoints, "best"),
        last_checkpoint=_marked(run, checkpoints, "last"),
        checkpoints=len(checkpoints),
        files=_files(run, result.get("artifacts") or []),
        warnings=[cut(f"{item.code}: {item.message} fix: {item.fix}") for item in warned],
        report=page,
    )


def _marked(run: RunFolder, checkpoints: list[dict[str, Any]], mark: str) -> str | None:
    return next((_place(run, entry) for entry in checkpoints if entry.get(mark)), None)


def _place(run: RunFolder, entry: Mapping[str, Any]) -> str:
    """Absolute, without the steps up that lead from a run folder to results elsewhere."""
    return os.path.normpath(run.path / str(entry["path"]))


def _files(run: RunFolder, artifacts: list[dict[str, Any]]) -> list[Files]:
    counts = Counter(str(entry.get("kind", "file")) for entry in artifacts)
    first = {str(entry.get("kind", "file")): _place(run, entry) for entry in reversed(artifacts)}
    return [Files(kind=kind, count=count, first=first[kind]) for kind, count in counts.items()]


class StopGiven(Given):
    run: str = Reference


class RunAnswer(Answer):
    run_id: str
    state: str
    action: str
    created: str
    reason: str


def stop_run(given: StopGiven, root: Path) -> RunAnswer:
    """Stops a run; a training writes a checkpoint first. An ended run stays as it is."""
    from skillrun.launch import stop

    run = find_run(given.run, root)
    stop(run)
    return _short(status(run))


class ListGiven(Given):
    limit: int = Field(10, ge=1, le=50, description="How many, 1-50.")
    cursor: str = Field("", description="next_cursor of the page before.")


class ListAnswer(Answer):
    runs: list[RunAnswer]
    in_all: int
    next_cursor: str | None = None


def list_the_runs(given: ListGiven, root: Path) -> ListAnswer:
    """The runs of the workspace, newest first, with state and reason."""
    every = list(list_runs(root))
    rest = list(dropwhile(lambda run: bool(given.cursor) and run.run_id >= given.cursor, every))
    shown = [_short(status(run)) for run in rest[: given.limit]]
    return ListAnswer(runs=shown, in_all=len(every), next_cursor=shown[-1].run_id if len(rest) > given.limit else None)


def _short(found: RunStatus) -> RunAnswer:
    return RunAnswer(
        run_id=found.run_id,
        state=found.state,
        action=found.action,
        created=found.created,
        reason=cut(found.reason, 160),
    )

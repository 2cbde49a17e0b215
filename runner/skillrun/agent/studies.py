"""Searches as the tools see them: a study has an id, a state and a result like a run, and trials that are runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.agent.tool import cut
from skillrun.errors import BackendError, NotFoundError
from skillrun.runfolder import RunFolder, find_run, read_json, write_atomic

if TYPE_CHECKING:
    from skillrun.agent.planning import LaunchAnswer, LaunchGiven, PlanGiven
    from skillrun.automl.settings import Settings
    from skillrun.automl.study import StudyFolder

LINES = 24
# How long a driver may take to begin, and to end after it was asked to.
BEGIN_S, END_S = 20.0, 40.0
_POLL_S = 0.1
_STATES = {"ended": "succeeded"}


def find(reference: str, root: Path) -> RunFolder | StudyFolder:
    """A run, or a search, by what names it; raises what `find_run` raises where neither is there."""
    from skillrun.automl.study import find_study

    try:
        return find_run(reference, root)
    except NotFoundError:
        with suppress(NotFoundError):
            return find_study(reference, root)
        raise


def design(given: PlanGiven, root: Path) -> Settings:
    """What would be searched; raises SkillrunError as a search from the command line does."""
    from skillrun.automl.design import design as decide
    from skillrun.automl.settings import SearchOptions
    from skillrun.prepare import searches

    request = replace(given.request(root), automl=True)
    searches(request)
    count = re.fullmatch(r"(\d{1,6})( ?trials?)?", given.search.strip())
    trials, length = (int(count[1]), "") if count else (0, given.search)
    options = SearchOptions(trials=trials, time=length, searches=tuple(given.ranges), test_data=given.test_data)
    return decide(request, options)


def plan_hash(settings: Settings) -> str:
    """A hash of all that decides a search: not its id and the time of its making."""
    told = settings.to_json()
    decides = {name: value for name, value in told.items() if name not in ("study_id", "created")}
    text = json.dumps(decides, sort_keys=True, default=str).replace(settings.study_id, "")  # paths hold it too
    return hashlib.sha256(text.encode()).hexdigest()


def review(settings: Settings) -> list[str]:
    """What a person reads before a search, cut to what an answer holds."""
    from skillrun.automl.review import review as lines_of
    from skillrun.automl.search import slots_of

    lines = (re.sub(r" {2,}", "  ", line) for line in lines_of(settings, slots_of(settings)))
    return [cut(line) for line in lines if line.strip()][:LINES]


def launch(given: LaunchGiven, root: Path, note: Path) -> LaunchAnswer:
    """Start a search in a process of its own; ``note`` names it to an attempt that follows one that was killed."""
    from skillrun.agent.planning import demand
    from skillrun.automl.search import create
    from skillrun.automl.study import StudyFolder

    told = read_json(note)
    folder = StudyFolder(Path(told["study_dir"])) if told else None
    if folder is None or not folder.record.is_file():
        settings = design(given, root)
        demand(given, settings.action, plan_hash(settings))
        write_atomic(note, json.dumps({"study_dir": str(root / "studies" / settings.study_id)}))
        folder = create(settings)
    return go_on(folder)


def stopped(reference: str, root: Path) -> StudyFolder | None:
    """The search that is to go on, by what names it; None where that names a run, a folder or nothing."""
    with suppress(NotFoundError):
        found = find(reference, root) if reference else None
        return None if isinstance(found, RunFolder) else found
    return None


def go_on(folder: StudyFolder) -> LaunchAnswer:
    """Drive a search unless somebody does, or it has ended."""
    from skillrun.agent.planning import LaunchAnswer

    if folder.state() == "interrupted":
        _drive(folder)
    settings = folder.settings()
    return LaunchAnswer(
        run_id=folder.study_id,
        run_dir=str(folder.path),
        action=settings.action,
        backend=settings.request.backend,
        plan_hash=plan_hash(settings),
        notices=[cut(notice) for notice in settings.space.notices],
    )


def _drive(folder: StudyFolder) -> None:
    """Start a driver, and wait until it has begun: before that the study looks like one that nobody drives."""
    from skillrun.automl.search import detach

    pid, until = detach(folder), time.monotonic() + BEGIN_S
    while folder.state() == "interrupted" and time.monotonic() < until:
        if _gone(pid) and folder.state() == "interrupted":
            last = folder.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            why = cut("".join(last)) or "it left no word"
            raise BackendError("E_STUDY_NOT_DRIVEN", f"{folder.study_id} did not begin: {why}", _again(folder))
        time.sleep(_POLL_S)


def _gone(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _again(folder: StudyFolder) -> str:
    return f"skillrun automl resume {folder.study_id}"


def state(folder: StudyFolder) -> str:
    """In the words of runs; ``interrupted`` where nobody drives it and it has no result."""
    found = folder.state()
    return _STATES.get(found, found)


def progress(folder: StudyFolder) -> dict[str, float]:
    """How many trials there are by state, and the best value so far."""
    from skillrun.automl.ledger import best_row, read_rows

    settings = folder.settings()
    rows = read_rows(folder.journal, settings)
    counts = {one: float(sum(row.state == one for row in rows)) for one in dict.fromkeys(row.state for row in rows)}
    best = best_row(rows, settings.better)
    if best is not None and best.value is not None:
        counts[f"best_{settings.metric}"] = best.value
    return {"trials": float(len(rows)), **counts}


def error(folder: StudyFolder) -> dict[str, Any] | None:
    """Why it has no best trial, in the shape of an error of a call."""
    if folder.state() == "interrupted":
        told = f"nobody drives {folder.study_id}; its trials are kept"
        fix = f"skillrun_launch_run with action=train, resume={folder.study_id} and a new key, or {_again(folder)}"
        return {"code": "E_STUDY_NOT_DRIVEN", "message": told, "fix": fix, "retryable": True}
    found = (folder.read_result() or {}).get("error")
    if not found:
        return None
    return {**{name: cut(str(found[name])) for name in ("code", "message", "fix")}, "retryable": False}


def metrics(folder: StudyFolder) -> dict[str, Any]:
    """The best trial's value; what it is compared by, for each contender; then all that the best was measured at."""
    result = folder.read_result() or {}
    best, by = result.get("best") or {}, result.get("compared_by")
    told = {f"best_{result.get('metric')}": best["value"]} if best else {}
    measured = {who: one.get("metrics") or {} for who, one in (result.get("evaluations") or {}).items()}
    told |= {f"{who}: {by}": numbers[by] for who, numbers in measured.items() if by in numbers}
    return told | dict(measured.get("best", {}))


def checkpoint(folder: StudyFolder) -> str | None:
    """The best trial's checkpoint."""
    best = (folder.read_result() or {}).get("best")
    return str(folder.path / best["checkpoint"]) if best else None


def stop(folder: StudyFolder) -> None:
    """End the driving and stop the trials; each writes a checkpoint first. It can be gone on with.

    Raises:
        BackendError: another host drives it, or it does not end.
    """
    driver = re.fullmatch(r"pid (\d+) on (.*)", folder.driver(), re.DOTALL)
    if not folder.driver():
        return
    if driver is None or driver[2] != os.uname().nodename:
        told = f"{folder.study_id} is driven by {folder.driver()}, which is another host"
        raise BackendError("E_STUDY_NOT_STOPPED", told, "call skillrun_stop_run there")
    until = time.monotonic() + END_S
    while folder.driver() and time.monotonic() < until:
        with suppress(ProcessLookupError):
            os.kill(int(driver[1]), signal.SIGTERM)  # the second one stops the trials too
        time.sleep(0.5)
    if folder.driver():
        raise BackendError("E_STUDY_NOT_STOPPED", f"{folder.study_id} is stopping", "call it again", retryable=True)

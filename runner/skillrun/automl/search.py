"""A search from its beginning to its result: create the study, drive it, compare, write down, make room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from skillrun.automl.budget import Clock, clock_text
from skillrun.automl.design import design
from skillrun.automl.driver import Driver
from skillrun.automl.evaluations import contenders_of, evaluate_all, headline, held_out
from skillrun.automl.ledger import Ledger, best_row, front, rows
from skillrun.automl.page import write_page
from skillrun.automl.result import StudyResult, importance, write_failure, write_result, write_table, write_winner
from skillrun.automl.retention import remove_losers, verified
from skillrun.automl.review import estimate
from skillrun.automl.runs import RunTrainer
from skillrun.automl.settings import SearchOptions, Settings
from skillrun.automl.slots import Slots
from skillrun.automl.study import FOLDER, StudyFolder
from skillrun.backends import Talk, get_backend
from skillrun.datasets import is_address
from skillrun.errors import BackendError, InterruptedRunError, RunFailedError, SkillrunError
from skillrun.prepare import Request
from skillrun.runfolder import check_writable, workspace

_AGAIN_S = 2.0
_COMMAND = "from skillrun.cli import main; main()"


class Says(Protocol):
    """Where a search tells what happens."""

    def say(self, text: str) -> None: ...


def run_search(request: Request, options: SearchOptions, output: Says, talk: Talk | None = None) -> StudyResult:
    """Search in the foreground.

    Raises:
        RunFailedError: every trial failed. InterruptedRunError: Ctrl-C; its message says what still runs.
        SkillrunError: as `design` and `drive` raise it.
    """
    settings = design(request, options, talk)
    return drive(create(settings), output, talk)


def create(settings: Settings) -> StudyFolder:
    """The study's folder with its ``study.json``; nothing is started."""
    root = workspace(settings.request.workspace)
    folder = StudyFolder(root / FOLDER / settings.study_id)
    check_writable(folder.path, what="the study's folder")
    try:
        folder.path.mkdir(parents=True)
        folder.save(settings)
    except OSError as error:
        raise BackendError(
            "E_LAUNCH", f"{folder.path}: {error.strerror or error}", "check space and permissions of the workspace"
        ) from error
    return folder


def slots_of(settings: Settings) -> Slots:
    """Where the trials of a study run."""
    from skillrun.backends import choose

    backend = settings.request.backend
    far = backend != "local" and not (get_backend(backend) if backend != "auto" else choose("auto", "")[0]).local_files
    return Slots(settings.request.host, settings.jobs, settings.per_trial, far=far)


def drive(folder: StudyFolder, output: Says, talk: Talk | None = None) -> StudyResult:
    """Drive a study to its end, from wherever it stands; relative paths count from where it was first asked for.

    Raises:
        ConflictError: another process drives it. InterruptedRunError, RunFailedError: as for `run_search`.
    """
    settings = folder.settings()
    with folder.driving(), _inside(settings.cwd), _Presses() as presses, _told(folder, output):
        clock, slots = Clock(folder.clock), slots_of(settings)
        ledger = Ledger(folder.journal, settings)

        def tell_estimate(seconds: float) -> None:
            output.say(estimate(settings, slots.at_once, seconds))

        trainer = RunTrainer(folder, settings, slots, talk)
        driver = Driver(
            settings, ledger, trainer, clock, output.say, first_epoch=tell_estimate, leave=lambda: presses.count > 0
        )
        if not driver.run():
            _leave(folder, driver, presses, output)
        return _finish(folder, settings, ledger, clock, output)


def detach(folder: StudyFolder) -> int:
    """Drive a study in a process of its own, which outlives this one; returns its number."""
    with folder.log.open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, "automl", "resume", str(folder.path), "--yes"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder.path,
            start_new_session=True,
        )
    return started.pid


def _finish(folder: StudyFolder, settings: Settings, ledger: Ledger, clock: Clock, output: Says) -> StudyResult:
    """Verify the winner, compare it, write everything down, then make room."""
    found = rows(ledger.trials())
    best = best_row(found, settings.better)
    if best is None:
        fix = f"skillrun automl extend {settings.study_id} --time 30m"
        raise RunFailedError("E_AUTOML_NO_VALUE", "no trial reached its first validation in the budget", fix)
    winner = verified(folder, best.run_id)
    write_winner(folder, settings, best)
    write_table(folder.table, found)
    first = next((row.run_id for row in found if row.number == 0 and row.value is not None), "")
    evaluations = evaluate_all(folder, settings, contenders_of(folder, settings, best.run_id, first), output.say)
    kept = {best.run_id, *(row.run_id for row in front(found, settings.better))}
    losers = [row.run_id for row in found if row.run_id and row.run_id not in kept]
    freed = 0 if settings.keep_all else remove_losers(folder, losers)
    result = StudyResult(
        folder,
        settings,
        found,
        best,
        winner,
        evaluations,
        headline(settings, evaluations),
        held_out(folder, settings, best.run_id, evaluations),
        importance(ledger.study),
        clock.seconds,
        freed,
    )
    write_page(result)
    write_result(result)
    _deliver(folder, settings, output)
    return result


def _deliver(folder: StudyFolder, settings: Settings, output: Says) -> None:
    """Send the study where ``--results`` named an address."""
    url = str(settings.request.results or "")
    if is_address(url):
        from skillrun.remote import upload

        sent = upload(folder.path, url, lambda progress: None)
        output.say(f"results: {sent.files} files, {sent.bytes / 1e6:.1f} MB in {sent.url}")


def _leave(folder: StudyFolder, driver: Driver, presses: _Presses, output: Says) -> None:
    """Ctrl-C: once, and the trials train on; twice, and they stop with a checkpoint. Raises InterruptedRunError."""
    study, count = folder.study_id, len(driver.active)
    back = f"skillrun automl resume {study}"
    if count:
        trials = "1 trial trains" if count == 1 else f"{count} trials train"
        output.say(f"\n{trials} on, and no new one starts.  go on: {back}  (Ctrl-C again now stops them)")
        if presses.again_within(_AGAIN_S):
            output.say("stopping the trials: each writes a checkpoint first")
            driver.stop_all()
            raise InterruptedRunError(
                "E_STOPPED", f"{study} was stopped after {clock_text(driver.clock.seconds)}", back
            )
    raise InterruptedRunError("E_DETACHED", f"{study} is not driven any more; go on: {back}", back)


class _Presses:
    """Counts Ctrl-C, and the polite wish to end, while it is installed; only the main thread may install it."""

    def __init__(self) -> None:
        self.count = 0
        self._again = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Presses:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._press) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _press(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            self._again.set()

    def again_within(self, seconds: float) -> bool:
        """Whether a second one comes within that time."""
        return self._again.wait(seconds)


@contextmanager
def _told(folder: StudyFolder, output: Says) -> Iterator[None]:
    """What ends a study for good is written down; what ends only the driving is told with how to go on."""
    try:
        yield
    except InterruptedRunError:
        raise
    except RunFailedError as error:
        write_failure(folder, error)
        raise
    except SkillrunError:
        output.say(f"nothing is lost; when that is mended: skillrun automl resume {folder.study_id}")
        raise


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Relative paths of the request count from the folder it was made in, where that is still there."""
    before = Path.cwd()
    if Path(folder).is_dir():
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)

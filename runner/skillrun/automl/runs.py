"""Trials as ordinary runs: planned, launched, watched, stopped and resumed as any other run of the study's folder."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from skillrun.automl.param import Value, show
from skillrun.automl.settings import LATENCY, Settings
from skillrun.automl.slots import Slots
from skillrun.automl.study import StudyFolder
from skillrun.automl.trainer import Epoch, Look, State, Wish
from skillrun.backends import Quiet, Talk
from skillrun.launch import launch, resume, stop
from skillrun.overrides import get_dotted
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder
from skillrun.specfile import parse_spec
from skillrun.watch import RunStatus, progress_file, read_events, status

if TYPE_CHECKING:
    from skillrun.prepare import Request

_KILLED = 128 + signal.SIGKILL
_GONE = frozenset({"", "E_RUN_KILLED", "E_RUN_ENGINE_RESTARTED"})
_SMALLEST_BATCH = 2
# Beginning of a trial's folder below a place for results that the user chose.
TRIAL_FOLDER = "trial-"
_FITS = re.compile(r"batch_size to (\d+)")


@dataclass
class _Watched:
    """How far the events of a run were read."""

    offset: int = 0
    passed: int = 0
    done: set[int] = field(default_factory=set)


class RunTrainer:
    """A `Trainer` on the backend that the study's request names."""

    def __init__(self, folder: StudyFolder, settings: Settings, slots: Slots, talk: Talk | None = None) -> None:
        self._folder, self._settings, self._slots = folder, settings, slots
        self._talk = talk or Quiet()
        self._planned: tuple[Plan, int] | None = None
        self._watched: dict[str, _Watched] = {}

    def free(self) -> bool:
        """Whether a GPU, or a place on the processors, is free."""
        return self._slots.free()

    def free_for(self, run_id: str) -> bool:
        """Whether the GPUs that it trained on are free; it goes on where it was planned for."""
        return self._slots.free_for(Plan.load(self._folder.run(run_id).plan).gpus)

    def plan(self, wish: Wish) -> str:
        """Resolve spec, data, weights and place of a trial. Raises what `prepare` raises."""
        from skillrun.prepare import prepare

        host = self._slots.take("planned")
        try:
            prepared = prepare(trial_request(self._settings, self._folder, wish, host), self._talk)
        finally:
            self._slots.give_back("planned")
        self._planned = prepared.plan, wish.number
        return prepared.plan.run_id

    def start(self, run_id: str) -> None:
        """Launch what was planned. Raises what `launch` raises; then no run folder is left."""
        plan, number = self._planned or (None, 0)
        if plan is None or plan.run_id != run_id:
            raise ValueError(f"{run_id} was not planned last")
        run = launch(plan, self._talk, data_seen=True)
        run.write_record(study=self._settings.study_id, trial=number)
        self._slots.hold(run_id, plan.gpus)

    def look(self, run_id: str) -> Look:
        """State and new epochs, from the run's folder and its backend."""
        run = self._folder.run(run_id)
        if not run.record.is_file():
            shutil.rmtree(run.path, ignore_errors=True)  # killed before anything was started
            return Look("absent")
        if run_id not in self._watched:
            self._watched[run_id] = _Watched()
            self._slots.hold(run_id, Plan.load(run.plan).gpus)
        found = status(run)
        if found.state == "planned":
            shutil.rmtree(run.path, ignore_errors=True)
            self.done(run_id)
            return Look("absent")
        state = _state(found)
        epochs = self._read(run, self._watched[run_id], ended=found.done)
        error = found.error or {}
        passed = self._watched[run_id].passed
        latency = found.metrics.get(LATENCY)
        return Look(
            state,
            epochs,
            passed,
            str(error.get("code") or ""),
            found.reason,
            str(error.get("fix") or ""),
            float(latency) if isinstance(latency, int | float) else None,
        )

    def stop(self, run_id: str) -> None:
        """As ``skillrun runs stop``; what was never started has nothing to stop."""
        if self._folder.run(run_id).record.is_file():
            stop(self._folder.run(run_id))

    def go_on(self, run_id: str) -> None:
        """As ``skillrun runs resume``."""
        resume(self._folder.run(run_id), self._talk)

    def smaller_batch(self, run_id: str) -> int:
        """What the failed run measured as fitting, else half of what it had."""
        values = parse_spec(Plan.load(self._folder.run(run_id).plan).spec_text).values
        had = int(get_dotted(values, f"dataset.{self._settings.task}.batch_size") or 0)
        error = status(self._folder.run(run_id)).error or {}
        told = _FITS.search(str(error.get("fix") or ""))
        fits = min(int(told[1]), had - 1) if told else had // 2
        return fits if _SMALLEST_BATCH <= fits < had else 0

    def done(self, run_id: str) -> None:
        """Forget it, and give its place to others."""
        self._watched.pop(run_id, None)
        self._slots.give_back(run_id)

    def _read(self, run: RunFolder, watched: _Watched, *, ended: bool) -> tuple[Epoch, ...]:
        path = progress_file(run)
        if path == run.events:
            events, watched.offset = read_events(path, watched.offset)
        else:
            from skillrun.tao.status import read_status

            events, watched.offset = read_status(path, watched.offset, ended=ended)
        found = []
        for event in events:
            if event.get("event") != "epoch" or not isinstance(event.get("epoch"), int):
                continue
            number = event["epoch"]
            watched.passed = max(watched.passed, number)
            value = (event.get("metrics") or {}).get(self._settings.metric)
            if isinstance(value, int | float) and number not in watched.done:
                watched.done.add(number)
                found.append(Epoch(number, float(value), float(event.get("seconds") or 0)))
        return tuple(found)


def trial_request(settings: Settings, folder: StudyFolder, wish: Wish, host: Any = None) -> Request:
    """The request of one trial: everything that the user gave, then what the search needs, then the drawn values."""
    mine = {
        key: f"{place}/{settings.study_id}/{TRIAL_FOLDER}{wish.number:04d}"
        for key, place in (settings.outputs or {}).items()
    }
    batch = {f"dataset.{settings.task}.batch_size": wish.batch_size} if wish.batch_size else {}
    texts = (*settings.extra, *texts_of(mine), *texts_of(wish.values), *texts_of(batch))
    named = {text.partition("=")[0] for text in texts}
    kept = tuple(text for text in settings.request.overrides if text.partition("=")[0].strip().lstrip("+") not in named)
    return replace(
        settings.request,
        action=settings.action,
        task=settings.task,
        overrides=(*kept, *texts),
        automl=False,
        text="",
        results="",
        host=host or settings.request.host,
        workspace=folder.path,
    )


def texts_of(values: Mapping[str, Value]) -> tuple[str, ...]:
    """``key=value`` of each, which reads back as the very same value."""
    return tuple(f"{key}={_exact(value)}" for key, value in values.items())


def _exact(value: Value) -> str:
    if isinstance(value, float) and not isinstance(value, bool):
        text = repr(value)
        return text if "." in text or "e" not in text else text.replace("e", ".0e")  # YAML: 1e-05 is a text
    return show(value)


def _state(found: RunStatus) -> State:
    if not found.done:
        return "running"
    if found.state == "succeeded":
        return "succeeded"
    if found.state == "cancelled":
        return "stopped"
    killed = found.exit_code == _KILLED and str((found.error or {}).get("code") or "") in _GONE
    return "lost" if found.state == "lost" or killed else "failed"

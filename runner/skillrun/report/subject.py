"""Which runs a report is about: the run that was named, the evaluation it shows, the training behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from skillrun.errors import NotFoundError, UsageError
from skillrun.overrides import get_dotted
from skillrun.runfolder import RunFolder, read_json
from skillrun.specfile import read_spec

_GENERATIONS = 6
_SIBLINGS = 500


@dataclass(frozen=True)
class Told:
    """A run as its files tell it; what is missing is empty."""

    folder: RunFolder

    @property
    def run_id(self) -> str:
        return self.folder.run_id

    @cached_property
    def record(self) -> dict[str, Any]:
        return read_json(self.folder.record) or {}

    @cached_property
    def plan(self) -> dict[str, Any]:
        return read_json(self.folder.plan) or {}

    @cached_property
    def result(self) -> dict[str, Any]:
        return read_json(self.folder.result) or {}

    @cached_property
    def spec(self) -> dict[str, Any]:
        try:
            return read_spec(self.folder.spec).values
        except (NotFoundError, UsageError):
            return {}

    @property
    def action(self) -> str:
        """Without ``segment_`` and ``trt_``: an engine's evaluation is one too."""
        named = str(self.record.get("action") or self.result.get("action") or "")
        return named.removeprefix("segment_").removeprefix("trt_")

    @property
    def task(self) -> str:
        return str(self.result.get("task") or self.record.get("task") or "classify")

    @property
    def status(self) -> str:
        """``succeeded``, ``failed``, ``cancelled``; empty where no result was left."""
        return str(self.result.get("status") or "")

    @property
    def metrics(self) -> dict[str, Any]:
        return self.result.get("metrics") or {}

    @property
    def parent(self) -> dict[str, Any]:
        return self.plan.get("parent") or self.record.get("parent") or {}

    @property
    def data_list(self) -> Path | None:
        """The CSV of the pairs that a classify evaluation measures."""
        path = get_dotted(self.spec, "dataset.classify.test_dataset.csv_path")
        return Path(str(path)) if path else None

    def artifact(self, name: str) -> Path | None:
        """The listed file or folder of that name, where it exists inside the run."""
        for entry in self.result.get("artifacts") or []:
            path = self.folder.path / str(entry.get("path", ""))
            if path.name == name and path.exists() and path.resolve().is_relative_to(self.folder.path.resolve()):
                return path
        return None


@dataclass(frozen=True)
class Subject:
    """What a report shows.

    Attributes:
        run: the run that was named.
        evaluation: itself, or the newest successful evaluation of a training's checkpoints.
        training: itself, or the training that its checkpoint comes from.
    """

    run: Told
    evaluation: Told | None
    training: Told | None


def find_subject(folder: RunFolder) -> Subject:
    """What belongs to a run; raises NotFoundError where the folder is no run."""
    folder.read_record()
    run = Told(folder)
    if run.action == "train":
        return Subject(run, _newest_evaluation(run), run)
    training = next((one for one in _ancestors(run) if one.action == "train"), None)
    return Subject(run, run if run.action == "evaluate" else None, training)


def _ancestors(run: Told) -> Iterator[Told]:
    for _ in range(_GENERATIONS):
        found = _parent(run)
        if found is None:
            return
        yield found
        run = found


def _parent(run: Told) -> Told | None:
    """The run that made the checkpoint: beside this one, or around the checkpoint's file."""
    places = [run.folder.path.parent / str(run.parent.get("run_id") or "."), *Path(_checkpoint(run)).parents]
    for place in islice(places, 8):
        if place != run.folder.path and (place / "run.json").is_file():
            return Told(RunFolder(place))
    return None


def _checkpoint(run: Told) -> str:
    section = run.spec.get(run.action) or {}
    return str(run.parent.get("checkpoint") or section.get("checkpoint") or "")


def _newest_evaluation(training: Told) -> Told | None:
    """Run ids sort by time, so the newest stands last."""
    for place in sorted(training.folder.path.parent.glob("*evaluate-*"), reverse=True)[:_SIBLINGS]:
        one = Told(RunFolder(place))
        if one.action == "evaluate" and one.status == "succeeded" and one.parent.get("run_id") == training.run_id:
            return one
    return None

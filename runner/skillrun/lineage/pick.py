"""Picking a parent's checkpoint, and explaining the pick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.errors import NotFoundError, SkillrunError
from skillrun.lineage.candidates import Candidate, candidates, model_files, seen, without_twins
from skillrun.lineage.choice import choose
from skillrun.lineage.folders import Parent, as_parent, best_trial
from skillrun.overrides import get_dotted
from skillrun.runfolder import RunFolder
from skillrun.tao.result import DEFAULT_MONITOR

_LISTED = 8
READERS = ("evaluate", "inference")


@dataclass(frozen=True)
class ParentCheckpoint:
    """A chosen checkpoint and the reason in one sentence. ``run_id`` is the path where the parent is a folder."""

    run_id: str
    path: Path
    reason: str
    entry: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """For the plan."""
        return {
            "run_id": self.run_id,
            "checkpoint": str(self.path),
            "reason": self.reason,
            "sha256": self.entry.get("sha256") or None,
        }


@dataclass(frozen=True)
class Explanation:
    """What a parent offers, and what would be taken.

    Attributes:
        monitor: the metric that the training watched.
        onnx, engines: exported models in it.
        chosen: None where nothing can be chosen; ``problem`` then says why and what to type.
    """

    parent: Parent
    pick: str
    monitor: str
    candidates: list[Candidate]
    onnx: list[Path]
    engines: list[Path]
    chosen: ParentCheckpoint | None
    problem: SkillrunError | None

    def to_json(self) -> dict[str, Any]:
        """For the command line."""
        return {
            "parent": self.parent.name,
            "action": self.parent.action,
            "task": self.parent.task,
            "pick": self.pick,
            "monitor": self.monitor,
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "onnx": [str(path) for path in self.onnx],
            "engines": [str(path) for path in self.engines],
            "chosen": self.chosen.to_json() if self.chosen else None,
            "problem": self.problem.to_json() if self.problem else None,
        }


def pick_checkpoint(parent: Parent | RunFolder, pick: str = "best") -> ParentCheckpoint:
    """The checkpoint of a parent by ``best``, ``last``, ``epoch=N`` (0-based, as in file names) or ``step=N``.

    Best is by the recorded validation metric; of two equally good ones the later.

    Raises:
        ConflictError: the run has not ended; NotFoundError: it has no such checkpoint; UsageError: bad ``pick``, or
            it can not be told which one is meant.
    """
    here = best_trial(as_parent(parent))
    here.require_ended()
    return _picked(here, without_twins(candidates(here)), pick)


def explain(parent: Parent | RunFolder, pick: str = "best") -> Explanation:
    """What can be picked, what is, and why; an error of the choice is part of the answer.

    Raises:
        UsageError: the recorded spec can not be read; NotFoundError, UsageError: a best trial that is not there.
    """
    here = best_trial(as_parent(parent))
    found = without_twins(candidates(here))
    chosen, problem = None, None
    try:
        here.require_ended()
        chosen = _picked(here, found, pick)
    except SkillrunError as error:
        problem = error
    onnx, engines = model_files(here, "onnx"), model_files(here, "engine")
    return Explanation(here, pick, _monitor(here), found, onnx, engines, chosen, problem)


def _picked(parent: Parent, found: list[Candidate], pick: str) -> ParentCheckpoint:
    if not found:
        read = _checkpoint_it_read(parent) if pick == "best" else None
        if read is None:
            raise _nothing(parent)
        return read
    chosen, reason = choose(parent.name, found, pick, _monitor(parent))
    if not chosen.exists:
        raise NotFoundError(
            "E_PARENT_FILE",
            f"{chosen.path} is listed by {parent.name} but does not exist",
            "restore it, pick another with --pick epoch=N, or retrain",
        )
    return ParentCheckpoint(parent.name, chosen.path, reason, dict(chosen.entry))


def _checkpoint_it_read(parent: Parent) -> ParentCheckpoint | None:
    """An evaluation or inference stands for the checkpoint that it was made with."""
    record = (parent.run.read_record() if parent.run else {}).get("parent")
    if parent.action.removeprefix("segment_") not in READERS or not isinstance(record, Mapping):
        return None
    path = Path(str(record.get("checkpoint")))
    if not path.is_file():
        return None
    why = str(record.get("reason")).rpartition(" read: ")[2]  # of the first that read it
    reason = f"the one that {parent.name} read: {why}"
    return ParentCheckpoint(str(record["run_id"]), path, reason, {"sha256": record.get("sha256")})


def _nothing(parent: Parent) -> NotFoundError:
    names = seen(parent)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    what = f"it holds {', '.join(names[:_LISTED])}{more}" if names else "its results are empty"
    made_by = f" ({parent.action})" if parent.action else ""
    return NotFoundError(
        "E_PARENT_NO_CHECKPOINT",
        f"{parent.name}{made_by} lists no checkpoint, and {what}",
        _grandparent(parent) or "name a train run with --parent",
    )


def _grandparent(parent: Parent) -> str:
    """The run that an export or evaluation itself came from has the checkpoint."""
    record = parent.run.read_record() if parent.run else {}
    before = record.get("parent")
    return f"--parent {before['run_id']}" if isinstance(before, Mapping) and before.get("run_id") else ""


def _monitor(parent: Parent) -> str:
    return str(get_dotted(parent.spec, "train.optim.monitor_name") or DEFAULT_MONITOR)

"""Parents: which checkpoint of an earlier run a new run starts from, and why that one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.errors import ConflictError, NotFoundError, UsageError
from skillrun.runfolder import RunFolder, read_json
from skillrun.specfile import read_spec
from skillrun.watch import status

_PICK = re.compile(r"(epoch|step)=(\d+)")


@dataclass(frozen=True)
class ParentCheckpoint:
    """A chosen checkpoint and the reason in one sentence."""

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
            "sha256": self.entry.get("sha256"),
        }


def pick_checkpoint(run: RunFolder, pick: str = "best") -> ParentCheckpoint:
    """The checkpoint of a run by ``best``, ``last``, ``epoch=N`` (0-based, as in file names) or ``step=N``.

    Raises:
        ConflictError: the run has not ended; NotFoundError: it has no such checkpoint; UsageError: bad ``pick``.
    """
    found = status(run)
    if not found.done:
        raise ConflictError("E_PARENT_RUNNING", f"{run.run_id} is {found.state}", f"skillrun runs attach {run.run_id}")
    entries: list[dict[str, Any]] = (read_json(run.result) or {}).get("checkpoints") or []
    if not entries:
        raise NotFoundError(
            "E_PARENT_NO_CHECKPOINT",
            f"{run.run_id} ({found.state}) lists no checkpoint",
            "name a train run with --parent",
        )
    chosen, reason = _choose(run, entries, pick)
    path = (run.path / chosen["path"]).absolute()
    if not path.is_file():
        raise NotFoundError(
            "E_PARENT_FILE", f"{path} is listed by {run.run_id} but does not exist", "restore it, or retrain"
        )
    return ParentCheckpoint(run.run_id, path, reason, chosen)


def _choose(run: RunFolder, entries: list[dict[str, Any]], pick: str) -> tuple[dict[str, Any], str]:
    if pick in ("best", "last"):
        for entry in entries:
            if entry.get(pick):
                return (
                    entry,
                    f"{pick} of {len(entries)}: epoch {entry.get('epoch')} {_numbers(entry)}".rstrip(),
                )
        return entries[-1], f"no checkpoint is marked {pick}; the newest of {len(entries)}"
    match = _PICK.fullmatch(pick)
    if match is None:
        raise UsageError("E_PARENT_PICK", f"--pick {pick!r} is none of best, last, epoch=N, step=N", "--pick best")
    for entry in entries:
        if entry.get(match[1]) == int(match[2]):
            return entry, f"{pick} as asked"
    there = ", ".join(f"{match[1]}={entry.get(match[1])}" for entry in entries)
    raise NotFoundError("E_PARENT_PICK", f"{run.run_id} has no checkpoint with {pick}; it has {there}", "--pick best")


def _numbers(entry: dict[str, Any]) -> str:
    metrics, shown = entry.get("metrics") or {}, ("val_ap", "val_iou_1", "val_miou", "val_loss")
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name in shown and value is not None)


def inherited(run: RunFolder, schema_keys: set[str], path_keys: set[str]) -> dict[str, Any]:
    """What a later action takes over from its parent's recorded spec: model and data geometry, never data paths."""
    from skillrun.overrides import flatten

    if not run.spec.is_file():
        return {}
    values = flatten(read_spec(run.spec).values, schema_keys)
    skip = (".batch_size", ".workers")
    return {
        key: value
        for key, value in values.items()
        if key in schema_keys
        and key not in path_keys
        and key.startswith(("model.", "dataset.", "train.classify.", "train.segment."))
        and not key.endswith(skip)
    }

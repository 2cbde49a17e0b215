"""Which evaluation is meant where a training is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skillrun.errors import NotFoundError
from skillrun.runfolder import RunFolder, list_runs, read_json


def evaluation_of(run: RunFolder, root: Path) -> RunFolder:
    """The run itself, or of a classify training the newest evaluation that succeeded and read its checkpoint.

    Args:
        root: the workspace; runs beside the training are looked at too.

    Raises:
        NotFoundError: ``E_EVALUATION_MISSING``: the training was not evaluated.
    """
    if run.read_record().get("action") != "train":
        return run
    beside = [folder for folder in list_runs(run.path.parent.parent) if folder.path.parent == run.path.parent]
    found = [other for other in (*list_runs(root), *beside) if _measures(other, run.run_id)]
    if not found:
        raise NotFoundError(
            "E_EVALUATION_MISSING",
            f"{run.run_id} is a training without an evaluation that succeeded",
            f"skillrun visual_changenet evaluate --parent {run.run_id}",
        )
    return max(found, key=lambda other: other.run_id)


def _measures(run: RunFolder, training: str) -> bool:
    record: dict[str, Any] = read_json(run.record) or {}
    parent = record.get("parent")
    if record.get("action") not in ("evaluate", "trt_evaluate") or not isinstance(parent, dict):
        return False
    return parent.get("run_id") == training and (read_json(run.result) or {}).get("status") == "succeeded"

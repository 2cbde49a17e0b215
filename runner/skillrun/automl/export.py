"""A study's results in one folder, to take elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

from skillrun.automl.retention import sha256_of, verified
from skillrun.automl.study import StudyFolder
from skillrun.errors import BackendError, ConflictError, NotFoundError


def export_study(folder: StudyFolder, out: Path) -> list[Path]:
    """Copy the best checkpoint (verified before and after), the winning spec, the result, the table and the page.

    Raises:
        NotFoundError: the study has not ended. ConflictError: a file of that name is there. BackendError: no space.
    """
    result = folder.read_result()
    if result is None or result["status"] != "succeeded":
        raise NotFoundError(
            "E_STUDY_NOT_ENDED",
            f"study {folder.study_id} has no best trial to export",
            f"skillrun automl resume {folder.study_id}",
        )
    winner = verified(folder, str(result["best"]["run_id"]))
    files = [winner.path, folder.winner, folder.result, folder.table, folder.page]
    there = [out / path.name for path in files if (out / path.name).exists()]
    if there:
        raise ConflictError("E_EXISTS", f"{there[0]} exists already", "--out another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        copied = [Path(shutil.copyfile(path, out / path.name)) for path in files]
    except OSError as error:
        raise BackendError("E_LAUNCH", f"{out}: {error.strerror or error}", "--out another folder") from error
    if sha256_of(copied[0]) != winner.sha256:
        raise BackendError("E_AUTOML_CHECKPOINT", f"{copied[0]} is not what was copied", "check the disk, then again")
    return copied

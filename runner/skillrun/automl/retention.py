"""Which checkpoints of a study stay: the best trial's, once they are proven; the others make room."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from skillrun.automl.runs import TRIAL_FOLDER
from skillrun.automl.study import StudyFolder
from skillrun.errors import NotFoundError, SkillrunError
from skillrun.lineage import find_parent, pick_checkpoint
from skillrun.runfolder import RunFolder
from skillrun.tao.checkpoints import SUFFIXES
from skillrun.watch import status

_PIECE = 1 << 20


@dataclass(frozen=True)
class Winner:
    """The best checkpoint: path and the sha256 of what lies there now."""

    path: Path
    sha256: str
    reason: str


def verified(folder: StudyFolder, run_id: str) -> Winner:
    """The best checkpoint of a trial, read whole.

    Raises:
        NotFoundError: there is none, or its content is not what the training recorded.
    """
    chosen = pick_checkpoint(find_parent(str(folder.run(run_id).path), folder.path), "best")
    path = Path(chosen.path)
    found = sha256_of(path)
    recorded = str(chosen.entry.get("sha256") or found)
    if recorded != found:
        raise NotFoundError(
            "E_AUTOML_CHECKPOINT",
            f"{path} has changed since the training wrote it: sha256 {found[:12]}…, recorded {recorded[:12]}…",
            f"train the values again: skillrun visual_changenet train --no-automl --spec {folder.winner}",
        )
    return Winner(path, found, chosen.reason)


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def remove_losers(folder: StudyFolder, losers: Iterable[str]) -> int:
    """Remove the checkpoints of these ended trials, and what only running trials needed; returns bytes.

    Only files in the trial's own folders go; specs, logs, metrics and results stay. Call it when the winner is
    `verified` and no trial will go on.
    """
    freed = 0
    for run_id in losers:
        run = folder.run(run_id)
        with contextlib.suppress(SkillrunError, OSError):
            if run.record.is_file() and status(run).done:
                freed += sum(_remove(path) for place in _own_folders(run) for path in sorted(place.rglob("*")))
                run.write_record(checkpoints_removed=True)
    shutil.rmtree(folder.cache, ignore_errors=True)
    return freed


def _own_folders(run: RunFolder) -> set[Path]:
    """The run's folder, and the one for results where the user chose a place that every trial has a part of."""
    results = Path(str(run.read_record().get("results_dir") or run.results))
    return {run.path, results if results.name.startswith(TRIAL_FOLDER) else run.path}


def _remove(path: Path) -> int:
    if path.suffix.lower() not in SUFFIXES or not (path.is_file() or path.is_symlink()):
        return 0
    size = 0 if path.is_symlink() else path.stat().st_size
    path.unlink()
    return size

"""The pictures of the AutoML study that a training was a trial of."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from skillrun.errors import SkillrunError
from skillrun.report.subject import Told


def study_of(training: Told | None) -> dict[str, Any] | None:
    """Name, trials and two pictures of the study, or None where the training was no trial or nothing reads its journal.

    A study keeps its trials in ``<study>/runs/<run>``.
    """
    folder = training.folder.path.parent.parent if training else Path()
    if training is None or not (folder / "study.json").is_file() or find_spec("optuna") is None:
        return None
    from skillrun.automl.ledger import read_rows
    from skillrun.automl.pictures import history, parallel_coordinates
    from skillrun.automl.settings import Settings
    from skillrun.automl.study import StudyFolder
    from skillrun.runfolder import read_json

    study = StudyFolder(folder)
    try:
        settings = Settings.from_json(read_json(study.record) or {})
        rows = read_rows(study.journal, settings)
    except (SkillrunError, KeyError, TypeError, ValueError):  # a study of another version: the report does without
        return None
    result = read_json(study.result) or {}
    usual = [param.key for param in settings.space.params]
    keys = list(dict.fromkeys([*(result.get("importance") or {}), *usual]))
    number = next((row.number for row in rows if row.run_id == training.run_id), None)
    return {
        "study_id": settings.study_id,
        "metric": settings.metric,
        "trials": len(rows),
        "trial": number,
        "best_trial": (result.get("best") or {}).get("number"),
        "pictures": [one for one in (history(settings, rows), parallel_coordinates(settings, rows, keys)) if one],
    }

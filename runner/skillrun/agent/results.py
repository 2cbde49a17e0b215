"""The tool that says what came out of a run or a search."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from skillrun.agent import studies
from skillrun.agent.tool import Answer, Given, cut
from skillrun.runfolder import RunFolder, read_json
from skillrun.watch import status

if TYPE_CHECKING:
    from skillrun.automl.study import StudyFolder

METRICS = 24
Reference = Field(description="Run or search id, its unique beginning, folder, or last (run).")


class ResultGiven(Given):
    run: str = Reference
    report: bool = Field(False, description="Also write the HTML report.")


class Files(Answer):
    kind: str
    count: int
    first: str


class ResultAnswer(Answer):
    run_id: str
    state: str
    action: str
    seconds: float | None = None
    metrics: dict[str, float]
    metrics_in_all: int
    best_checkpoint: str | None = None
    last_checkpoint: str | None = None
    checkpoints: int
    files: list[Files]
    warnings: list[str]
    report: str | None = None


def get_result(given: ResultGiven, root: Path) -> ResultAnswer:
    """What came out of a run: metrics, paths of its checkpoints and files, warnings about the numbers, and with
    report=true the path of an HTML report."""
    from skillrun.inspection.warnings import outcome_warnings

    run = studies.find(given.run, root)
    if not isinstance(run, RunFolder):
        return _study_result(run)
    found, result = status(run), read_json(run.result) or {}
    page = None
    if given.report:
        from skillrun.report import write

        page = str(write(run).page)
    checkpoints = result.get("checkpoints") or []
    warned = outcome_warnings(found.metrics, found.run_id, found.task, None) if found.state == "succeeded" else []
    return ResultAnswer(
        run_id=found.run_id,
        state=found.state,
        action=found.action,
        seconds=result.get("seconds"),
        metrics=numbers_of(found.metrics),
        metrics_in_all=len(found.metrics),
        best_checkpoint=_marked(run, checkpoints, "best"),
        last_checkpoint=_marked(run, checkpoints, "last"),
        checkpoints=len(checkpoints),
        files=_files(run, result.get("artifacts") or []),
        warnings=[cut(f"{item.code}: {item.message} fix: {item.fix}") for item in warned],
        report=page,
    )


def _study_result(study: StudyFolder) -> ResultAnswer:
    """The best trial and its evaluations; the page of a search is always written."""
    result, best = study.read_result() or {}, studies.checkpoint(study)
    numbers = studies.metrics(study)
    left = (("winning spec", study.winner), ("table of trials", study.table))
    return ResultAnswer(
        run_id=study.study_id,
        state=studies.state(study),
        action=study.settings().action,
        seconds=result.get("seconds"),
        metrics=numbers_of(numbers),
        metrics_in_all=len(numbers),
        best_checkpoint=best,
        checkpoints=1 if best else 0,
        files=[Files(kind=kind, count=1, first=str(path)) for kind, path in left if path.is_file()],
        warnings=[],
        report=str(study.page) if study.page.is_file() else None,
    )


def _marked(run: RunFolder, checkpoints: list[dict[str, Any]], mark: str) -> str | None:
    return next((_place(run, entry) for entry in checkpoints if entry.get(mark)), None)


def _place(run: RunFolder, entry: Mapping[str, Any]) -> str:
    """Absolute, without the steps up that lead from a run folder to results elsewhere."""
    return os.path.normpath(run.path / str(entry["path"]))


def _files(run: RunFolder, artifacts: list[dict[str, Any]]) -> list[Files]:
    counts = Counter(str(entry.get("kind", "file")) for entry in artifacts)
    first = {str(entry.get("kind", "file")): _place(run, entry) for entry in reversed(artifacts)}
    return [Files(kind=kind, count=count, first=first[kind]) for kind, count in counts.items()]


def numbers_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The first numbers among the metrics of a run."""
    pairs = ((name, value) for name, value in metrics.items() if isinstance(value, int | float))
    return dict(islice(pairs, METRICS))

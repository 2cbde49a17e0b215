"""Everything that a report says about a run, as plain values; what has no data is absent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from skillrun.errors import NotFoundError
from skillrun.inspection import Outcomes, read_outcomes, read_threshold
from skillrun.report import classify, models, segment, training
from skillrun.report.datacard import classify_card, segment_card
from skillrun.report.gallery import Gallery, classify_gallery, segment_gallery
from skillrun.report.gates import gates
from skillrun.report.places import classify_files, segment_files
from skillrun.report.reproduce import numbers as reproduction
from skillrun.report.search import study_of
from skillrun.report.subject import Subject, Told

SCHEMA_VERSION = 1
_SHOWS = ("classify", "segment", "training", "parity", "quantize", "engine")


@dataclass(frozen=True)
class Content:
    """``numbers`` is ``report.json``; the gallery and the study's pictures are on the page only."""

    numbers: dict[str, Any]
    gallery: Gallery | None
    study_pictures: tuple[str, ...] = ()


def content(subject: Subject) -> Content:
    """Numbers and gallery of a run.

    Raises:
        NotFoundError: ``E_REPORT_EMPTY``: the run left nothing that a report could show.
    """
    run = subject.run
    study = study_of(subject.training)
    pictures = tuple(study.pop("pictures")) if study else ()
    measured, gallery = _measured(subject)
    numbers: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "action": run.action,
        "task": run.task,
        "status": run.status or "unfinished",
        "error": run.result.get("error"),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "evaluation": subject.evaluation.run_id if subject.evaluation else None,
        **measured,
        "training": training.numbers(subject.training) if subject.training else None,
        "study": study,
        "parity": models.parity(run),
        "quantize": models.quantized(run),
        "engine": models.engine(run),
        "reproduce": reproduction(run),
    }
    if not any(numbers.get(name) for name in _SHOWS):
        raise NotFoundError(
            "E_REPORT_EMPTY",
            f"{run.run_id} ({run.action}, {run.status or 'unfinished'}) left no numbers that a report could show",
            f"skillrun runs show {run.run_id}, or name an evaluation, a training or an export that succeeded",
        )
    return Content({key: value for key, value in numbers.items() if value is not None}, gallery, pictures)


def _measured(subject: Subject) -> tuple[dict[str, Any], Gallery | None]:
    evaluation = subject.evaluation
    if evaluation is None:
        return {}, None
    if evaluation.task == "segment":
        return _segment(evaluation)
    try:
        outcomes = read_outcomes(evaluation.folder)
    except NotFoundError:  # it ended before the table was written
        return {}, None
    return _classify(evaluation, outcomes, subject.training) if outcomes.pairs else ({}, None)


def _classify(evaluation: Told, outcomes: Outcomes, trained: Told | None) -> tuple[dict[str, Any], Gallery]:
    chosen = read_threshold(evaluation.folder)
    gallery = classify_gallery(outcomes.pairs, outcomes.margin, classify_files(evaluation.spec))
    told = {
        "classify": classify.numbers(outcomes),
        "gates": gates(chosen, outcomes),
        "threshold": chosen.to_json() if chosen else None,
        "data": classify_card(evaluation, outcomes, trained),
    }
    return told, gallery


def _segment(evaluation: Told) -> tuple[dict[str, Any], Gallery | None]:
    masks = segment.read_masks(evaluation)
    if not masks:
        return {}, None
    numbers = segment.numbers(evaluation, masks)
    gallery = segment_gallery(masks, segment_files(evaluation.spec, segment.mask_folder(evaluation)))
    return {"segment": numbers, "data": segment_card(evaluation, len(masks), numbers["defects"])}, gallery

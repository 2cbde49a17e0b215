"""Action evaluate: score a labelled CSV, report metrics, show the worst mistakes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from visual_changenet.actions.contact_sheet import worst_cases
from visual_changenet.actions.scoring import open_model, score_rows
from visual_changenet.atomic import write_text_atomic
from visual_changenet.console import say
from visual_changenet.data.classify import ClassifyDataset
from visual_changenet.metrics import Scores, decision_metrics, inspection_metrics, ranking_metrics
from visual_changenet.session import Session


def write_scores(path: Path, dataset: ClassifyDataset, scores: Scores, margin: float | None = None) -> None:
    """All CSV columns, ``siamese_score`` and, with a margin, ``predicted``; rows in input order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*dataset.table.columns, "siamese_score", *(["predicted"] if margin is not None else [])])
    for row, score in zip(dataset.table.rows, scores, strict=True):
        cells = [*row.cells.values(), f"{score:.9g}"]
        if margin is not None:
            cells.append("NO_PASS" if score > margin else "PASS")
        writer.writerow(cells)
    write_text_atomic(path, text.getvalue())


def summary_line(documented: dict[str, float], count: int, margin: float) -> str:
    """The documented one-line report of an evaluation."""
    return (
        f"Tot Comp {count} Total Accuracy {documented['acc']:.2f} False Negative {documented['fnr']:.2f} "
        f"False Alarm {documented['fpr']:.2f} Defect Correctly Captured {documented['defect_acc']:.2f} "
        f"for Margin {margin}"
    )


def evaluate(session: Session) -> None:
    """Score ``test_dataset`` with ``evaluate.checkpoint``; writes evaluate.csv and worst_cases.png.

    Raises:
        MissingFileError, DataInvalidError, SpecError: the checkpoint or the data can not be used.
        CancelledError: after SIGINT or SIGTERM.
    """
    model, device = open_model(session)
    dataset, scores = score_rows(session, model, device, "test")
    targets = np.asarray(dataset.targets(), np.int64)
    margin = float(session.spec["model"]["classify"]["eval_margin"])
    documented = decision_metrics(scores, targets, margin)
    session.metrics = {
        "test_acc": documented["acc"],
        "test_fpr": documented["fpr"],
        "test_fnr": documented["fnr"],
        "defect_acc": documented["defect_acc"],
        **ranking_metrics(scores, targets),
        **inspection_metrics(scores, targets, margin),
    }
    table = session.results_dir / "evaluate.csv"
    write_scores(table, dataset, scores, margin)
    session.add_artifact(table, "table")
    picture = session.results_dir / "worst_cases.png"
    worst_cases(dataset, scores, targets, margin).save(picture)
    session.add_artifact(picture, "picture")
    kpi = {name: session.metrics[name] for name in ("test_acc", "test_fpr", "test_fnr", "defect_acc")}
    session.status.write("RUNNING", "Test metrics generated.", kpi=kpi)
    say(summary_line(documented, len(scores), margin))

"""evaluate and inference of the task classify."""

from __future__ import annotations

import numpy as np

from visual_changenet.actions.classify_sheet import worst_cases
from visual_changenet.actions.scoring import Scorer
from visual_changenet.actions.tables import write_table
from visual_changenet.atomic import write_text_atomic
from visual_changenet.console import say
from visual_changenet.data.batches import Batches
from visual_changenet.data.classify import ClassifyDataset, Split
from visual_changenet.events import Progress
from visual_changenet.metrics import (
    Scores,
    Targets,
    decision_metrics,
    inspection_metrics,
    ranking_metrics,
    threshold_sweep,
)
from visual_changenet.session import Session

LEADING = ("input_path", "golden_path", "label", "object_name")


def score_rows(session: Session, scorer: Scorer, split: Split) -> tuple[ClassifyDataset, Scores]:
    """One score per CSV row, float64 (n,), in row order.

    Raises:
        CancelledError: after SIGINT or SIGTERM.
    """
    data = session.spec["dataset"]["classify"]
    batch = session.spec[session.action].get("batch_size") or data["batch_size"]
    dataset = ClassifyDataset(data, split, session.spec["train"]["seed"])
    batches = Batches(dataset.arrays, len(dataset), batch, data["workers"])
    progress = Progress(session.events, session.action, len(batches))
    scores = []
    for step, (test, golden, _) in enumerate(batches, 1):
        scores.append(scorer.scores(test, golden))
        progress.update(step, len(test))
        session.check_interrupted()
    return dataset, np.concatenate(scores).astype(np.float64)


def decision(score: float, margin: float) -> str:
    """The word for a score: above the margin is a defect."""
    return "NO_PASS" if score > margin else "PASS"


def summary_line(documented: dict[str, float], count: int, margin: float) -> str:
    """The documented one-line report of an evaluation."""
    return (
        f"Tot Comp {count} Total Accuracy {documented['acc']:.2f} False Negative {documented['fnr']:.2f} "
        f"False Alarm {documented['fpr']:.2f} Defect Correctly Captured {documented['defect_acc']:.2f} "
        f"for Margin {margin}"
    )


def evaluate_classify(session: Session, scorer: Scorer) -> None:
    """Score ``test_dataset``; writes evaluate.csv, predictions.csv, threshold_sweep.csv and worst_cases.png."""
    dataset, scores = score_rows(session, scorer, "test")
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
    _write_evaluation(session, dataset, scores, margin)
    _write_sweep(session, scores, targets, margin)
    _write_picture(session, dataset, scores, targets, margin)
    kpi = {name: session.metrics[name] for name in ("test_acc", "test_fpr", "test_fnr", "defect_acc")}
    session.status.write("RUNNING", "Test metrics generated.", kpi=kpi)
    say(summary_line(documented, len(scores), margin))


def _write_evaluation(session: Session, dataset: ClassifyDataset, scores: Scores, margin: float) -> None:
    """The documented table with all CSV columns, and one that starts with what a reader sorts and filters by."""
    rows, columns = dataset.table.rows, dataset.table.columns
    scored = [(row, float(score)) for row, score in zip(rows, scores, strict=True)]
    write_table(
        session,
        session.results_dir / "evaluate.csv",
        [*columns, "siamese_score", "predicted"],
        [[*row.cells.values(), score, decision(score, margin)] for row, score in scored],
    )
    _write_predictions(session, dataset, scores, margin, labelled=True)


def _write_predictions(
    session: Session, dataset: ClassifyDataset, scores: Scores, margin: float, *, labelled: bool
) -> None:
    """What was decided on each test image, with the columns that are no paths and no label."""
    slices = [name for name in dataset.table.columns if name not in LEADING]
    columns = [*(["label"] if labelled else []), "score", "decision", *slices]
    lines = []
    for row, score in zip(dataset.table.rows, scores.tolist(), strict=True):
        path = dataset.paths(row, "input_path")[0].relative_to(dataset.images_dir).as_posix()
        known = {**row.cells, "score": score, "decision": decision(score, margin)}
        lines.append([path, *(known[name] for name in columns)])
    write_table(session, session.results_dir / "predictions.csv", ["path", *columns], lines)


def _write_sweep(session: Session, scores: Scores, targets: Targets, margin: float) -> None:
    # Twelve digits: midway between two float32 scores is between them still.
    rows = [",".join(f"{cell:.12g}" for cell in row) for row in threshold_sweep(scores, targets, margin)]
    path = session.results_dir / "threshold_sweep.csv"
    write_text_atomic(path, "\n".join(["margin,escapes,false_calls,escape_rate,overkill_rate", *rows]) + "\n")
    session.add_artifact(path, "sweep")


def _write_picture(session: Session, dataset: ClassifyDataset, scores: Scores, targets: Targets, margin: float) -> None:
    picture = session.results_dir / "worst_cases.png"
    worst_cases(dataset, scores, targets, margin).save(picture)
    session.add_artifact(picture, "picture")


def infer_classify(session: Session, scorer: Scorer) -> None:
    """Score ``infer_dataset``.

    Writes inference.csv, all columns and siamese_score in the order of the input, and predictions.csv with decisions.
    """
    dataset, scores = score_rows(session, scorer, "infer")
    margin = float(session.spec["model"]["classify"]["eval_margin"])
    write_table(
        session,
        session.results_dir / "inference.csv",
        [*dataset.table.columns, "siamese_score"],
        [[*row.cells.values(), float(score)] for row, score in zip(dataset.table.rows, scores, strict=True)],
    )
    _write_predictions(session, dataset, scores, margin, labelled=False)
    called = float((scores > margin).sum())
    session.metrics = {"num_samples": float(len(scores)), "num_no_pass": called, "margin": margin}

"""Action inference: a score for every row of a CSV."""

from __future__ import annotations

from visual_changenet.actions.evaluate import write_scores
from visual_changenet.actions.scoring import open_model, score_rows
from visual_changenet.session import Session


def inference(session: Session) -> None:
    """Score ``infer_dataset`` with ``inference.checkpoint``; writes inference.csv in the order of the input.

    Raises:
        MissingFileError, DataInvalidError, SpecError: the checkpoint or the data can not be used.
        CancelledError: after SIGINT or SIGTERM.
    """
    model, device = open_model(session)
    dataset, scores = score_rows(session, model, device, "infer")
    table = session.results_dir / "inference.csv"
    write_scores(table, dataset, scores)
    session.add_artifact(table, "table")
    session.metrics = {"num_samples": float(len(scores))}

"""Action evaluate: scores against labels, as metrics.json, a table of predictions and pictures."""

from __future__ import annotations

import json

from visual_changenet.actions.opening import open_model
from visual_changenet.atomic import write_text_atomic
from visual_changenet.events import finite
from visual_changenet.models import SegmentNetwork
from visual_changenet.session import Session


def evaluate(session: Session) -> None:
    """Score the test data with ``evaluate.checkpoint``.

    Raises:
        MissingFileError, DataInvalidError, SpecError: the checkpoint or the data can not be used.
        CancelledError: after SIGINT or SIGTERM.
    """
    model, device = open_model(session)
    if isinstance(model, SegmentNetwork):
        from visual_changenet.actions.segment import evaluate_segment

        evaluate_segment(session, model, device)
    else:
        from visual_changenet.actions.classify import evaluate_classify

        evaluate_classify(session, model, device)
    path = session.results_dir / "metrics.json"
    write_text_atomic(path, json.dumps(finite(session.metrics), indent=1, allow_nan=False) + "\n")
    session.add_artifact(path, "metrics")

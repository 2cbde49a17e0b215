"""Action evaluate: scores against labels, as metrics.json, a table of predictions and pictures."""

from __future__ import annotations

import json

from visual_changenet.actions.scoring import open_scorer
from visual_changenet.atomic import write_text_atomic
from visual_changenet.events import finite
from visual_changenet.session import Session


def evaluate(session: Session) -> None:
    """Score the test data with ``evaluate.checkpoint`` or ``evaluate.trt_engine``.

    Raises:
        MissingFileError, DataInvalidError, SpecError: the model or the data can not be used.
        CancelledError: after SIGINT or SIGTERM.
    """
    scorer = open_scorer(session)
    if session.spec["task"] == "segment":
        from visual_changenet.actions.segment import evaluate_segment

        evaluate_segment(session, scorer)
    else:
        from visual_changenet.actions.classify import evaluate_classify

        evaluate_classify(session, scorer)
    session.metrics |= scorer.metrics()
    path = session.results_dir / "metrics.json"
    write_text_atomic(path, json.dumps(finite(session.metrics), indent=1, allow_nan=False) + "\n")
    session.add_artifact(path, "metrics")

"""Action inference: a score for every row of a CSV, or a mask for every pair."""

from __future__ import annotations

from visual_changenet.actions.scoring import open_scorer
from visual_changenet.session import Session


def inference(session: Session) -> None:
    """Predict for unlabelled data with ``inference.checkpoint`` or ``inference.trt_engine``.

    Raises:
        MissingFileError, DataInvalidError, SpecError: the model or the data can not be used.
        CancelledError: after SIGINT or SIGTERM.
    """
    scorer = open_scorer(session)
    if session.spec["task"] == "segment":
        from visual_changenet.actions.segment import infer_segment

        infer_segment(session, scorer)
    else:
        from visual_changenet.actions.classify import infer_classify

        infer_classify(session, scorer)
    session.metrics |= scorer.metrics()

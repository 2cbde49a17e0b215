"""Action inference: a score for every row of a CSV, or a mask for every pair."""

from __future__ import annotations

from visual_changenet.actions.opening import open_model
from visual_changenet.models import SegmentNetwork
from visual_changenet.session import Session


def inference(session: Session) -> None:
    """Predict for unlabelled data with ``inference.checkpoint``.

    Raises:
        MissingFileError, DataInvalidError, SpecError: the checkpoint or the data can not be used.
        CancelledError: after SIGINT or SIGTERM.
    """
    model, device = open_model(session)
    if isinstance(model, SegmentNetwork):
        from visual_changenet.actions.segment import infer_segment

        infer_segment(session, model, device)
    else:
        from visual_changenet.actions.classify import infer_classify

        infer_classify(session, model, device)

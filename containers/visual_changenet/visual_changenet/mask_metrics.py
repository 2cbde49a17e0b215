"""Scores of change maps from a confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visual_changenet.data.masks import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

EPS = float(np.finfo(np.float32).eps)


def confusion_of(logits: Tensor, mask: Tensor) -> Tensor:
    """Counts [truth, prediction] of one batch: int64 (n, n) on the device of the logits.

    Args:
        logits: (B, n, S, S). mask: (B, 1, S, S); 255 is not counted.
    """
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    classes = logits.shape[1]
    counts: Tensor = multiclass_confusion_matrix(
        logits.argmax(dim=1), mask[:, 0].long(), classes, ignore_index=IGNORED, validate_args=False
    )
    return counts


def mask_scores(confusion: NDArray[np.float64] | Tensor) -> dict[str, float]:
    """acc, miou, mf1, mprecision, mrecall and iou_i, F1_i, precision_i, recall_i per class, all 0..1.

    The float32 epsilon is added to every denominator. Classes that neither occur nor are predicted count 0.

    Args:
        confusion: (n, n) counts, truth in rows, prediction in columns.
    """
    counts = np.asarray(confusion if isinstance(confusion, np.ndarray) else confusion.cpu(), np.float64)
    hits, truth, called = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    recall, precision = hits / (truth + EPS), hits / (called + EPS)
    scores = {
        "iou": hits / (truth + called - hits + EPS),
        "F1": 2 * recall * precision / (recall + precision + EPS),
        "precision": precision,
        "recall": recall,
    }
    out = {"acc": float(hits.sum() / (counts.sum() + EPS))}
    out |= {f"m{name.lower()}": float(values.mean()) for name, values in scores.items()}
    return out | {f"{name}_{i}": float(value) for name, values in scores.items() for i, value in enumerate(values)}

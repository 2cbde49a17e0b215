"""Scores of change maps: pixels from a confusion matrix, and which changed objects were found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from visual_changenet.data.masks import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

Size = Literal["small", "medium", "large"]
# Largest share of the map's pixels of a small and of a medium object: 8 x 8 and 26 x 26 of 256 x 256.
SMALL, MEDIUM = 0.001, 0.01
# An object is found where at least this share of its pixels is called a change.
FOUND = 0.5
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


@dataclass(frozen=True)
class ChangedObject:
    """One connected change of a true mask.

    Attributes:
        x, y, width, height: its box in pixels of the map. area: its pixels.
        share: area of the whole map, 0..1.
        covered: share of its pixels that were called a change, of whatever class, 0..1.
    """

    x: int
    y: int
    width: int
    height: int
    area: int
    share: float
    covered: float

    @property
    def size(self) -> Size:
        """By its share of the map: small up to 0.1 %, medium up to 1 %, else large."""
        return "small" if self.share <= SMALL else "medium" if self.share <= MEDIUM else "large"

    @property
    def found(self) -> bool:
        """Whether at least half of it was called a change."""
        return self.covered >= FOUND


def changed_objects(truth: NDArray[np.uint8], called: NDArray[np.uint8]) -> list[ChangedObject]:
    """The changes of a true mask, in reading order; pixels that touch by a side or a corner are one.

    Args:
        truth, called: classes (S, S); 0 is no change, 255 of the truth is not counted.
    """
    import cv2

    changed = ((truth > 0) & (truth != IGNORED)).astype(np.uint8)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(changed, connectivity=8)
    hits = np.bincount(labels[called > 0], minlength=count)
    found = []
    for index in range(1, count):
        x, y, width, height, area = (int(cell) for cell in boxes[index])
        found.append(ChangedObject(x, y, width, height, area, area / truth.size, float(hits[index]) / area))
    return found


def object_scores(objects: Iterable[ChangedObject]) -> dict[str, float]:
    """objects and object_recall (0..1, found of all), and the same per size; a recall only where there are objects."""
    out: dict[str, float] = {}
    every = list(objects)
    sizes: tuple[Size, ...] = ("small", "medium", "large")
    groups = [("", every), *((f"_{size}", [one for one in every if one.size == size]) for size in sizes)]
    for name, group in groups:
        out[f"objects{name}"] = float(len(group))
        if group:
            out[f"object_recall{name}"] = sum(one.found for one in group) / len(group)
    return out

"""The numbers of a segment evaluation: pairs decided rightly, classes by pixel, objects by size."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.inspection import Rate
from skillrun.report.subject import Told

CHANGE = "CHANGE"
TABLE = "predictions.csv"
IOU_BINS = 20


@dataclass(frozen=True)
class Mask:
    """One pair: its name in the list, whether pixels changed, whether any were called, and the IoU of the change."""

    name: str
    changed: bool
    called: bool
    score: float
    iou: float
    changed_share: float
    predicted_share: float


def read_masks(evaluation: Told) -> list[Mask]:
    """The table of a segment evaluation; empty where it left none."""
    table = evaluation.artifact(TABLE)
    if table is None:
        return []
    with table.open(encoding="utf-8", newline="") as stream:
        return [_mask(row) for row in csv.DictReader(stream)]


def _mask(row: Mapping[str, str]) -> Mask:
    shares = (float(row.get(name) or 0) for name in ("score", "iou", "changed_share", "predicted_share"))
    return Mask(row["path"], row.get("label") == CHANGE, row.get("decision") == CHANGE, *shares)


def numbers(evaluation: Told, masks: list[Mask]) -> dict[str, Any]:
    """Pair-level rates, per-class scores, histogram of the IoU of changed pairs, recall by size where it was kept."""
    changed = [mask for mask in masks if mask.changed]
    same = [mask for mask in masks if not mask.changed]
    missed = Rate(sum(not mask.called for mask in changed), len(changed))
    called = Rate(sum(mask.called for mask in same), len(same))
    return {
        "pairs": len(masks),
        "defects": missed.total,
        "good": called.total,
        "escape": missed.to_json(),
        "overkill": called.to_json(),
        "confusion": {
            "defect_called": missed.total - missed.count,
            "defect_passed": missed.count,
            "good_called": called.count,
            "good_passed": called.total - called.count,
        },
        "miou": evaluation.metrics.get("test_miou"),
        "accuracy": evaluation.metrics.get("test_acc"),
        "classes": _classes(evaluation.metrics),
        "iou_histogram": _iou_bins(changed),
        "sizes": _sizes(evaluation.metrics),
    }


def _classes(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = sorted(int(name.rpartition("_")[2]) for name in metrics if re.fullmatch(r"test_iou_\d+", name))
    names = ("iou", "F1", "precision", "recall")
    return [
        {"class": index, **{name.lower(): metrics.get(f"test_{name}_{index}") for name in names}} for index in found
    ]


def _iou_bins(changed: list[Mask]) -> list[int]:
    bins = [0] * IOU_BINS
    for mask in changed:
        bins[min(IOU_BINS - 1, max(0, int(mask.iou * IOU_BINS)))] += 1
    return bins


def _sizes(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Changed objects of each size that were found, where the evaluation counted them."""
    found = []
    for size in ("small", "medium", "large"):
        recall, total = metrics.get(f"test_object_recall_{size}"), metrics.get(f"test_objects_{size}")
        if recall is not None and total:
            found.append({"size": size, **Rate(round(recall * total), int(total)).to_json()})
    return found


def mask_folder(evaluation: Told) -> Path | None:
    """Where the predicted masks lie, one PNG a pair."""
    return evaluation.artifact("masks")

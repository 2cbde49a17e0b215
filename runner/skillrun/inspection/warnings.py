"""What the numbers of a run that succeeded warn of: a model no better than chance, a margin that does not fit."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skillrun.findings import Finding
from skillrun.inspection.outcomes import PASS

# Below this share of the way from chance to perfect, a model has learnt next to nothing.
LEARNT = 0.1
# An IoU of the changed pixels below this is hardly more than an accident.
LEAST_IOU = 0.05
# The other margin must save more than this, of escape rate and overkill rate together.
WORTH_SAYING = 0.1
OVERKILL = 0.05


def outcome_warnings(
    metrics: Mapping[str, Any], run_id: str, task: str | None, labels: Path | None = None
) -> list[Finding]:
    """Warnings of a training or an evaluation; none for other runs.

    Args:
        metrics: the numbers of ``result.json``.
        run_id: for the commands of the fixes.
        task: ``classify`` or ``segment``.
        labels: table of the pairs that a training of classify was validated on; its share of defects is what average
            precision is by chance.
    """
    if task == "segment":
        return list(_masks(metrics))
    if "average_precision" in metrics:
        return [*_evaluated(metrics, run_id)]
    return list(_trained(metrics, labels))


def _masks(metrics: Mapping[str, Any]) -> Iterator[Finding]:
    overlap = metrics.get("best_val_iou_1", metrics.get("test_iou_1"))
    if overlap is not None and overlap < LEAST_IOU:
        yield _chance(f"masks of the change hardly overlap the true ones: IoU {overlap:.3g}")


def _trained(metrics: Mapping[str, Any], labels: Path | None) -> Iterator[Finding]:
    reached, chance = metrics.get("best_val_ap"), _share_of_defects(labels)
    if reached is not None and chance is not None and reached < chance + LEARNT * (1 - chance):
        yield _chance(f"average precision is {reached:.3g} at best, and {chance:.3g} is chance")


def _evaluated(metrics: Mapping[str, Any], run_id: str) -> Iterator[Finding]:
    if not (metrics.get("num_defects") and metrics.get("num_passes")):
        return
    auroc = float(metrics.get("auroc", 1))
    if auroc < 0.5 + LEARNT / 2:
        yield _chance(f"the area under the ROC curve is {auroc:.3g}, and 0.5 is chance")
        return
    margin, fix = metrics.get("margin"), f"skillrun threshold {run_id} --max-overkill {OVERKILL:.0%}"
    called = metrics["true_defects"] + metrics["false_calls"]
    if called in (0, metrics["num_samples"]):
        what = "every pair" if called == 0 else "no pair"
        yield Finding("W_EVAL_ONE_SIDED", "warning", f"at margin {margin} {what} passes", fix=fix)
        return
    recall, other = metrics.get("recall_at_overkill_5pct"), metrics.get("margin_at_overkill_5pct")
    escape, overkill = metrics["escape_rate"], metrics["overkill_rate"]
    if recall is not None and escape + overkill > 1 - recall + OVERKILL + WORTH_SAYING:
        message = (
            f"margin {margin} lets {escape:.1%} of the defects escape and calls {overkill:.1%} of the good pairs; "
            f"at {other:.3g} it is {1 - recall:.1%} with at most {OVERKILL:.0%}"
        )
        yield Finding("W_EVAL_MARGIN", "warning", message, fix=fix)


def _chance(what: str) -> Finding:
    return Finding(
        "W_TRAIN_CHANCE", "warning", what, fix="skillrun data check DIR, then skillrun explain W_TRAIN_CHANCE"
    )


def _share_of_defects(table: Path | None) -> float | None:
    """Defects of all rows, 0 to 1; None where the table can not be read or has no rows."""
    try:
        with (table or Path()).open(encoding="utf-8", newline="") as stream:
            labels = [str(row.get("label") or "").strip().upper() for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    return sum(label != PASS for label in labels) / len(labels) if labels else None

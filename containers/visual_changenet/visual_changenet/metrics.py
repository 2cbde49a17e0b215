"""Scores of a PASS / NO_PASS decision: score > margin means defect."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Targets = NDArray[np.int64]
SWEEP_LIMIT = 1000
OVERKILL_LIMITS = {"1pct": 0.01, "5pct": 0.05}


def decision_metrics(scores: Scores, targets: Targets, margin: float) -> dict[str, float]:
    """Documented percentages at a margin.

    Args:
        scores: (n,) defect scores. targets: (n,) 0 PASS, 1 defect.

    Returns:
        acc (of all), defect_acc (of the defects, 0 without any), fpr and fnr (both of **all** samples).
    """
    called = scores > margin
    defect = targets == 1
    total, defects = max(len(targets), 1), int(defect.sum())
    return {
        "acc": 100.0 * float((called == defect).sum()) / total,
        "fpr": 100.0 * float((called & ~defect).sum()) / total,
        "fnr": 100.0 * float((~called & defect).sum()) / total,
        "defect_acc": 100.0 * float((called & defect).sum()) / defects if defects else 0.0,
    }


def ranking_metrics(scores: Scores, targets: Targets) -> dict[str, float]:
    """average_precision and auroc (0..1); empty where a class is absent.

    Average precision is the sum of precision times gain in recall over all thresholds, AUROC the area under the line
    through all points (false positive rate, true positive rate); samples of equal score share one threshold.
    """
    defects = int((targets == 1).sum())
    if defects == 0 or defects == len(targets):
        return {}
    place = np.unique(-scores, return_inverse=True)[1]  # of the threshold that lets a sample in, the highest first
    hits = np.bincount(place, weights=targets == 1).cumsum()
    calls = np.bincount(place).cumsum()
    recall, alarms = np.insert(hits / defects, 0, 0.0), np.insert((calls - hits) / (len(targets) - defects), 0, 0.0)
    return {
        "average_precision": float((np.diff(recall) * hits / calls).sum()),
        "auroc": float((np.diff(alarms) * (recall[1:] + recall[:-1]) / 2).sum()),
    }


def recall_at_overkill(scores: Scores, targets: Targets, limit: float) -> tuple[float, float]:
    """The best defect recall (0..1) with at most ``limit`` of the PASS samples called defect, and its margin.

    The margin is the smallest that keeps the limit. Without PASS samples the margin is below every score.
    """
    passes, defects = np.sort(scores[targets == 0])[::-1], scores[targets == 1]
    allowed = math.floor(limit * len(passes) + 1e-9)
    margin = float(passes[allowed]) if allowed < len(passes) else float(np.nextafter(scores.min(), -np.inf))
    recall = float((defects > margin).mean()) if len(defects) else 0.0
    return recall, margin


def inspection_metrics(scores: Scores, targets: Targets, margin: float) -> dict[str, float]:
    """What a line cares about: escapes (defects passed), overkill (good parts called defect), both 0..1."""
    called, defect = scores > margin, targets == 1
    counts = {
        "true_defects": int((called & defect).sum()),
        "escapes": int((~called & defect).sum()),
        "false_calls": int((called & ~defect).sum()),
        "true_passes": int((~called & ~defect).sum()),
    }
    out: dict[str, float] = {
        "num_samples": len(targets),
        "num_defects": int(defect.sum()),
        "num_passes": int((~defect).sum()),
        **counts,
        "escape_rate": counts["escapes"] / max(int(defect.sum()), 1),
        "overkill_rate": counts["false_calls"] / max(int((~defect).sum()), 1),
        "margin": margin,
    }
    for name, limit in OVERKILL_LIMITS.items():
        recall, at = recall_at_overkill(scores, targets, limit)
        out[f"recall_at_overkill_{name}"], out[f"margin_at_overkill_{name}"] = recall, at
    return out


def threshold_sweep(
    scores: Scores, targets: Targets, margin: float, limit: int = SWEEP_LIMIT
) -> list[tuple[float, int, int, float, float]]:
    """What every margin that decides otherwise would do, the smallest first.

    Margins: 0, then midway between neighbouring scores, then the highest score, which lets all pass; and the given
    one. Of more than ``limit`` rows some are left out evenly, never these three.

    Returns:
        (margin, escapes, false calls, escape rate, overkill rate); the rates are 0..1, of the defects and of the good.
    """
    steps = np.unique(scores[scores > 0])
    margins = np.unique(np.concatenate([[0.0, margin], (steps[1:] + steps[:-1]) / 2, steps[-1:]]))
    if len(margins) > limit:
        kept = np.linspace(0, len(margins) - 1, limit - 1).round().astype(np.int64)
        margins = np.unique(np.append(margins[kept], margin))
    defects, good = np.sort(scores[targets == 1]), np.sort(scores[targets == 0])
    escapes = np.searchsorted(defects, margins, side="right")
    calls = len(good) - np.searchsorted(good, margins, side="right")
    shares = escapes / max(len(defects), 1), calls / max(len(good), 1)
    return [
        (float(at), int(escaped), int(called), float(escape), float(overkill))
        for at, escaped, called, escape, overkill in zip(margins, escapes, calls, *shares, strict=True)
    ]


def score_split(scores: Scores, targets: Targets, margin: float, prefix: str) -> dict[str, float]:
    """``<prefix>_acc``, ``<prefix>_fpr`` and, where both classes are present, ``<prefix>_ap``."""
    at_margin = decision_metrics(scores, targets, margin)
    out = {f"{prefix}_acc": at_margin["acc"], f"{prefix}_fpr": at_margin["fpr"]}
    ranking = ranking_metrics(scores, targets)
    if ranking:
        out[f"{prefix}_ap"] = ranking["average_precision"]
    return out

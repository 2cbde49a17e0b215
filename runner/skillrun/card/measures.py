"""What an evaluation measured, counted anew from the pairs that it scored."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skillrun.card.family import Member
from skillrun.errors import NotFoundError
from skillrun.inspection import Outcomes, Rate, Threshold, read_outcomes, read_threshold

SMALL = 30  # of fewer pairs no rate is worth a comparison
_SCORES = ("iou", "F1", "precision", "recall")


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class, 0..1; None where there is nothing to count."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None


@dataclass(frozen=True)
class Measures:
    """Numbers of an evaluation.

    Attributes:
        pairs: how many were scored; 0 where nobody counted.
        accuracy: share of pairs (classify) or pixels (segment) that are right, 0..1.
        classes: per class; classify has the two decisions, segment the classes of the masks.
        means: mean IoU, F1, precision and recall over the classes of masks; empty for classify.
        escape, overkill: of pairs; None where no decision per pair was recorded.
        margin: the score above which a pair is a defect; None for segment.
        threshold: the margin's record where ``skillrun threshold`` chose it.
        labels: pairs per label. caught: per label of a defect, those that were called one.
    """

    pairs: int
    accuracy: float | None
    classes: tuple[ClassScores, ...]
    means: Mapping[str, float] = field(default_factory=dict)
    escape: Rate | None = None
    overkill: Rate | None = None
    margin: float | None = None
    threshold: Threshold | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    caught: Mapping[str, Rate] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "pairs": self.pairs,
            "accuracy": self.accuracy,
            "margin": self.margin,
            "margin_rule": self.threshold.rule if self.threshold else None,
            "escape": self.escape.to_json() if self.escape else None,
            "overkill": self.overkill.to_json() if self.overkill else None,
            "classes": {one.name: {k: v for k, v in vars(one).items() if k != "name"} for one in self.classes},
            "means": dict(self.means),
            "labels": dict(self.labels),
            "caught": {label: rate.to_json() for label, rate in self.caught.items()},
        }


def measure(evaluation: Member) -> Measures | None:
    """The numbers of an evaluation, at the margin that was chosen for it, else at the one it decided by.

    None where it left no table of scored pairs, as the published container does.

    Raises:
        DataError: its table or its threshold can not be read.
    """
    if evaluation.task == "segment":
        return _of_masks(evaluation)
    try:
        outcomes = read_outcomes(evaluation.run)
    except NotFoundError:
        return None
    return _of_pairs(outcomes, read_threshold(evaluation.run))


def _of_pairs(outcomes: Outcomes, threshold: Threshold | None) -> Measures:
    margin = threshold.margin if threshold else outcomes.margin
    escape, overkill = outcomes.escapes(margin), outcomes.overkill(margin)
    hits, misses, alarms = escape.total - escape.count, escape.count, overkill.count
    rights = overkill.total - overkill.count
    labels = Counter(pair.label for pair in outcomes.pairs)
    defects = Counter(pair.label for pair in outcomes.pairs if pair.defect)
    found = Counter(pair.label for pair in outcomes.pairs if pair.defect and pair.score > margin)
    total = len(outcomes.pairs)
    return Measures(
        pairs=total,
        accuracy=(hits + rights) / total if total else None,
        classes=(_class("NO_PASS", hits, alarms, misses), _class("PASS", rights, misses, alarms)),
        escape=escape,
        overkill=overkill,
        margin=margin,
        threshold=threshold,
        labels=dict(sorted(labels.items())),
        caught={label: Rate(found[label], count) for label, count in sorted(defects.items())},
    )


def _class(name: str, hits: int, alarms: int, misses: int) -> ClassScores:
    """Precision hits / (hits + alarms), recall hits / (hits + misses), F1 their harmonic mean, IoU hits / all three."""

    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    return ClassScores(
        name,
        precision=share(hits, hits + alarms),
        recall=share(hits, hits + misses),
        f1=share(2 * hits, 2 * hits + alarms + misses),
        iou=share(hits, hits + alarms + misses),
    )


def _of_masks(evaluation: Member) -> Measures:
    told = {k: float(v) for k, v in (evaluation.result.get("metrics") or {}).items() if isinstance(v, int | float)}
    numbers = {name.removeprefix("test_"): value for name, value in told.items()}
    count = sum(name.startswith("iou_") for name in numbers)
    classes = tuple(
        ClassScores(
            "no change" if index == 0 else "change" if count == 2 else f"change class {index}",
            *(numbers.get(f"{name}_{index}") for name in ("precision", "recall", "F1", "iou")),
        )
        for index in range(count)
    )
    escape, overkill, labels = _decisions(evaluation)
    return Measures(
        pairs=sum(labels.values()) or int(numbers.get("num_samples", 0)),
        accuracy=numbers.get("acc"),
        classes=classes,
        means={name: numbers[f"m{name.lower()}"] for name in _SCORES if f"m{name.lower()}" in numbers},
        escape=escape,
        overkill=overkill,
        labels=dict(sorted(labels.items())),
    )


def _decisions(evaluation: Member) -> tuple[Rate | None, Rate | None, Counter[str]]:
    """Escapes, overkill and labels of whole pictures, where a table of them was left."""
    path = evaluation.artifact("table")
    if path is None:
        return None, None, Counter()
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [(row.get("label"), row.get("decision")) for row in csv.DictReader(stream)]
    if not rows or any(label is None or decision is None for label, decision in rows):
        return None, None, Counter()
    changed = [decision for label, decision in rows if label == "CHANGE"]
    same = [decision for label, decision in rows if label != "CHANGE"]
    escape = Rate(sum(decision != "CHANGE" for decision in changed), len(changed))
    overkill = Rate(sum(decision == "CHANGE" for decision in same), len(same))
    return escape, overkill, Counter(str(label) for label, _ in rows)

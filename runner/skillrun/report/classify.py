"""The numbers of a classify evaluation: rates, confusion, curves, histogram, slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skillrun.inspection import Outcome, Outcomes, Rate
from skillrun.report.slices import slices
from skillrun.report.spread import intervals
from skillrun.report.sweep import Sweep, sweep, thinned

BINS = 48


def numbers(outcomes: Outcomes) -> dict[str, Any]:
    """All that the page shows of a classify evaluation; rates as `Rate.to_json`, scores as they were written."""
    pairs, margin = outcomes.pairs, outcomes.margin
    escape, overkill = outcomes.escapes(), outcomes.overkill()
    full = sweep(pairs)
    return {
        "pairs": len(pairs),
        "defects": escape.total,
        "good": overkill.total,
        "margin": margin,
        "escape": escape.to_json(),
        "overkill": overkill.to_json(),
        "accuracy": Rate(len(pairs) - escape.count - overkill.count, len(pairs)).to_json(),
        "precision": Rate(escape.total - escape.count, escape.total - escape.count + overkill.count).to_json(),
        "auroc": full.auroc(),
        "average_precision": full.average_precision(),
        "intervals": intervals(pairs),
        "confusion": {
            "defect_called": escape.total - escape.count,
            "defect_passed": escape.count,
            "good_called": overkill.count,
            "good_passed": overkill.total - overkill.count,
        },
        "sweep": _sweep(thinned(full, margin)),
        "histogram": histogram(pairs, margin),
        "slices": slices(pairs, margin),
    }


def _sweep(found: Sweep) -> dict[str, Any]:
    return {"exact": found.exact, "rows": [[row.margin, row.escapes, row.false_calls] for row in found.rows]}


def histogram(pairs: Sequence[Outcome], margin: float) -> dict[str, Any]:
    """Counts per class in `BINS` equal bins from 0 (or the lowest score) to the highest score, margin included."""
    scores = [pair.score for pair in pairs]
    low = min([0.0, margin, *scores])
    high = max([margin, *scores], default=1.0)
    high = 1.0 if low == 0 and 0.5 < high <= 1 else high
    high = high if high > low else low + 1.0
    width = high - low
    good, defect = [0] * BINS, [0] * BINS
    for pair in pairs:
        place = min(BINS - 1, int((pair.score - low) / width * BINS))
        (defect if pair.defect else good)[place] += 1
    return {"low": low, "high": high, "good": good, "defect": defect}

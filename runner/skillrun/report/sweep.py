"""Every margin that decides differently, with what escapes and what is called falsely there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from skillrun.inspection import Outcome

ROWS = 1500


@dataclass(frozen=True)
class Row:
    """From this margin up to the next row's, so many defects pass and so many good pairs do not."""

    margin: float
    escapes: int
    false_calls: int


@dataclass(frozen=True)
class Sweep:
    """Rows by rising margin; the first lies below every score. ``exact`` where no row was left out."""

    rows: Sequence[Row]
    exact: bool
    defects: int
    good: int

    def auroc(self) -> float | None:
        """Area under recall over overkill by trapezoids over all ties, in 0..1; None where a class is missing."""
        if not self.defects or not self.good:
            return None
        area = 0.0
        for lower, upper in zip(self.rows, self.rows[1:], strict=False):
            width = (lower.false_calls - upper.false_calls) / self.good
            area += width * (1 - (lower.escapes + upper.escapes) / (2 * self.defects))
        return area

    def average_precision(self) -> float | None:
        """Precision weighted by the recall that each step of the margin adds; None where there is no defect."""
        if not self.defects:
            return None
        found = 0.0
        for lower, upper in zip(self.rows, self.rows[1:], strict=False):
            caught = self.defects - lower.escapes
            called = caught + lower.false_calls
            found += (upper.escapes - lower.escapes) / self.defects * (caught / called if called else 1.0)
        return found


def sweep(pairs: Sequence[Outcome]) -> Sweep:
    """All distinct decisions; rows for the page are picked by `thinned`."""
    ordered = sorted((pair.score, pair.defect) for pair in pairs)
    defects = sum(defect for _, defect in ordered)
    good = len(ordered) - defects
    below = min(0.0, ordered[0][0] - 1e-9) if ordered else 0.0
    escapes, false_calls = 0, good
    rows = [Row(below, 0, good)]
    for score, group in groupby(ordered, key=lambda pair: pair[0]):
        here = [defect for _, defect in group]
        escapes += sum(here)
        false_calls -= len(here) - sum(here)
        rows.append(Row(score, escapes, false_calls))
    return Sweep(rows, True, defects, good)


def thinned(full: Sweep, margin: float, limit: int = ROWS) -> Sweep:
    """At most about ``limit`` rows, evenly; the ends and the row in force at ``margin`` stay."""
    if len(full.rows) <= limit:
        return full
    step = len(full.rows) / limit
    in_force = max((i for i, row in enumerate(full.rows) if row.margin <= margin), default=0)
    kept = {int(index * step) for index in range(limit)} | {in_force, len(full.rows) - 1}
    return Sweep([full.rows[index] for index in sorted(kept)], False, full.defects, full.good)

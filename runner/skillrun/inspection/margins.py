"""The margin that a rule prefers on scored pairs, and how far it would move on other pairs of the same kind."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from skillrun.inspection.rules import Rule

RESAMPLES, SEED = 1000, 0
CONFIDENCE = 0.95


def best_gap(defects: Sequence[float], good: Sequence[float], rule: Rule) -> tuple[float, float] | None:
    """The neighbouring scores between which the preferred margin lies; None where no margin keeps the rule.

    Only margins between two different scores count: one that calls all pairs, or none, decides nothing.

    Args:
        defects, good: scores of both classes, in any order.
    """
    at_defects, at_good = Counter(defects), Counter(good)
    escapes, false_calls = 0, len(good)
    best: tuple[tuple[float, int], float, float] | None = None
    scores = sorted(at_defects.keys() | at_good.keys())
    for low, high in pairwise(scores):
        escapes += at_defects.get(low, 0)
        false_calls -= at_good.get(low, 0)
        # Above a mere defect or below a mere good pair the next margin is better by every rule.
        if (low not in at_good and low != scores[0]) or (high not in at_defects and high != scores[-1]):
            continue
        rank = rule.rank(escapes, false_calls, len(defects), len(good))
        if rank is not None and (best is None or rank < best[0]):
            best = rank, low, high
    return best[1:] if best else None


def margin_in(low: float, high: float) -> float:
    """The number with the fewest digits in the middle half of a gap, nearest to its middle."""
    middle, reach = (low + high) / 2, (high - low) / 4
    rounded = (float(f"{middle:.{digits}g}") for digits in range(1, 17))
    return next((value for value in rounded if abs(value - middle) <= reach), middle)


def margin_interval(defects: Sequence[float], good: Sequence[float], rule: Rule) -> tuple[float, float] | None:
    """The 95 % percentile interval of the margin over resamples of both classes (B. Efron 1979, the bootstrap).

    Each class keeps its size. Resamples on which no margin keeps the rule are left out; None where all are.
    """
    chance = random.Random(SEED)
    found = []
    for _ in range(RESAMPLES):
        gap = best_gap(chance.choices(defects, k=len(defects)), chance.choices(good, k=len(good)), rule)
        if gap:
            found.append(sum(gap) / 2)
    if not found:
        return None
    found.sort()
    tail = (1 - CONFIDENCE) / 2
    return found[math.floor(tail * len(found))], found[math.ceil((1 - tail) * len(found)) - 1]

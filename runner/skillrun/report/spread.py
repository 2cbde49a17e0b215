"""How far AUROC and average precision would move on other pairs of the same kind: a seeded bootstrap."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from skillrun.inspection import Outcome

RESAMPLES = 400
MOST_PAIRS = 20_000
FEWEST_PAIRS = 2  # of a class; a single one is always drawn again
CONFIDENCE = 0.95
Interval = tuple[float, float]


def intervals(pairs: Sequence[Outcome]) -> dict[str, Interval] | None:
    """95 % percentile intervals (B. Efron 1979) of ``auroc`` and ``average_precision``, both ends in 0..1.

    Defects and good pairs are drawn again apart from each other, so that each draw has as many of both. The same
    scores give the same interval, in any order. Above `MOST_PAIRS` pairs it would take seconds and the interval is
    narrow: None then, and where a class has fewer than `FEWEST_PAIRS`.
    """
    sides = _ranks(pairs)
    if len(pairs) > MOST_PAIRS or any(len(side) < FEWEST_PAIRS for side in sides.values()):
        return None
    draw = random.Random(0)
    found: dict[str, list[float]] = {"auroc": [], "average_precision": []}
    for _ in range(RESAMPLES):
        defects, good = (Counter(draw.choices(sides[side], k=len(sides[side]))) for side in (True, False))
        auroc, precision = areas(defects, good)
        found["auroc"].append(auroc)
        found["average_precision"].append(precision)
    return {name: _middle(values) for name, values in found.items()}


def areas(defects: Mapping[int, int], good: Mapping[int, int]) -> tuple[float, float]:
    """(AUROC, average precision) of counts by rank, the highest score first; ties of a rank count as halves."""
    caught = called = 0
    below = precision = 0.0
    for rank in sorted({*defects, *good}):
        here, wrong = defects.get(rank, 0), good.get(rank, 0)
        below += wrong * (caught + here / 2)
        caught, called = caught + here, called + wrong
        precision += here * caught / (caught + called)
    return below / (caught * called), precision / caught


def _ranks(pairs: Iterable[Outcome]) -> dict[bool, list[int]]:
    """By class the place of each pair's score among all different scores, the highest being 0."""
    sides: dict[bool, list[int]] = {True: [], False: []}
    for rank, defect in _ranked(pairs):
        sides[defect].append(rank)
    return sides


def _ranked(pairs: Iterable[Outcome]) -> Iterator[tuple[int, bool]]:
    ordered = sorted(((pair.score, pair.defect) for pair in pairs), reverse=True)
    for rank, (_, group) in enumerate(groupby(ordered, key=lambda pair: pair[0])):
        yield from ((rank, defect) for _, defect in group)


def _middle(values: list[float]) -> Interval:
    cut = int(len(values) * (1 - CONFIDENCE) / 2)
    ordered = sorted(values)
    return ordered[cut], ordered[-1 - cut]

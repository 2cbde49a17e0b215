"""Which groups of samples go to which side of a split: no group on two sides, labels spread as groups allow."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from skillrun.errors import DataError, UsageError

# What converters hold out where the source has no split of its own.
HELD_OUT = {"train": 0.75, "eval": 0.25}


def parse_fractions(text: str) -> dict[str, float]:
    """``train=0.8,eval=0.2`` as side -> share.

    Raises:
        UsageError: ``E_SPLIT_FRACTION`` unless there are two or more sides of 0 < share < 1 that add up to 1.
    """
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, _, value = item.partition("=")
        try:
            share = float(value)
        except ValueError:
            share = 0.0
        if not name.strip().isidentifier() or not 0 < share < 1 or name.strip() in shares:
            raise _wrong_fraction(f"{item.strip()!r} in --fraction {text!r} is no new SIDE=SHARE with 0 < SHARE < 1.")
        shares[name.strip()] = share
    if len(shares) < 2 or abs(sum(shares.values()) - 1) > 1e-6:
        raise _wrong_fraction(f"--fraction {text!r} must name two or more sides whose shares add up to 1.")
    return shares


def _wrong_fraction(message: str) -> UsageError:
    return UsageError("E_SPLIT_FRACTION", message, "--fraction train=0.8,eval=0.2")


def assign_sides(groups: Mapping[str, Counter[str]], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Give every group a side.

    Large groups are placed first, each where the squared distance of all labels from their shares grows least; equal
    groups are placed in an order that the seed draws. No side stays empty.

    Args:
        groups: group -> label -> samples.
        shares: side -> share of the samples, adding up to 1.
        seed: the same seed gives the same sides.

    Returns:
        group -> side.

    Raises:
        DataError: ``E_SPLIT_GROUPS`` if there are fewer groups than sides.
    """
    if len(groups) < len(shares):
        raise DataError(
            "E_SPLIT_GROUPS",
            f"{len(groups)} group(s) can not fill the {len(shares)} sides {', '.join(shares)}.",
            "Name fewer sides, or group by something finer",
        )
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    names.sort(key=lambda name: -groups[name].total())
    totals: Counter[str] = sum(groups.values(), Counter())
    placed: dict[str, Counter[str]] = {side: Counter() for side in shares}
    sides: dict[str, str] = {}
    for done, name in enumerate(names):
        empty = [side for side in shares if not placed[side]]
        allowed = empty if len(names) - done == len(empty) else list(shares)
        side = min(allowed, key=lambda side: _growth(groups[name], placed[side], totals, shares[side]))
        placed[side] += groups[name]
        sides[name] = side
    return sides


def _growth(group: Counter[str], placed: Counter[str], totals: Counter[str], share: float) -> float:
    """How much the squared distance from ``share`` grows, over the labels of the group and all samples together."""
    counts = [(group[label], placed[label], totals[label]) for label in group]
    counts.append((group.total(), placed.total(), totals.total()))
    return sum(((n + more) / of - share) ** 2 - (n / of - share) ** 2 for more, n, of in counts)


def spread(labels: Mapping[str, str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """`assign_sides` for samples that are each a group of their own: name -> label in, name -> side out."""
    return assign_sides({name: Counter({label: 1}) for name, label in labels.items()}, shares, seed)


def first_of(names: Sequence[str], most: int = 5) -> str:
    """Some names for a sentence: ``a, b, c and 4 more``."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")

"""One golden/test pair as the checks see it, and which part of many pairs is looked at closely."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

SEED = 1234

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """A pair whose files exist.

    Attributes:
        source: the CSV or list that names it, and its 1-based ``line`` there.
        split: split of a segment list; empty for classify.
        label: classify only.
        golden, test: picture files; ``mask`` where the pair has one.
    """

    source: Path
    line: int
    split: str
    label: str
    golden: Path
    test: Path
    mask: Path | None = None

    @property
    def place(self) -> str:
        """Where it is named, for messages."""
        return f"{self.source}, line {self.line}"


def some(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of the items, in their order; the same items give the same choice."""
    if len(items) <= most:
        return list(items)
    chosen = sorted(random.Random(SEED).sample(range(len(items)), most))
    return [items[place] for place in chosen]


def share_text(looked_at: int, total: int, what: str) -> str:
    """How much was looked at, e.g. ``"200 of 100000 pairs"`` or ``"all 40 pairs"``."""
    return f"all {total} {what}" if looked_at == total else f"{looked_at} of {total} {what}"

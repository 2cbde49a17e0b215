"""Samples of a data set without goldens: each gets a side and the good picture that is most like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from skillrun.data.pairs import SourcePair, safe_name
from skillrun.data.sides import spread
from skillrun.data.similarity import RULE, GoodPictures
from skillrun.errors import DataError


@dataclass(frozen=True)
class Unpaired:
    """A test picture that has no golden yet.

    Attributes:
        kind: the object it shows; goldens show the same one.
        name: unique file name without ending.
        label: ``PASS`` or the name of the defect.
        test: the picture.
        mask: what changed; None where nothing did.
        split: ``train`` or ``eval`` where the source says so, else empty.
    """

    kind: str
    name: str
    label: str
    test: Path
    mask: Path | None = None
    split: str = ""


def pair_with_goldens(
    samples: Sequence[Unpaired], pools: Mapping[str, Sequence[Path]], shares: Mapping[str, float], seed: int
) -> tuple[list[SourcePair], dict[str, Any]]:
    """Pick a golden for each sample.

    Args:
        samples: what to pair; those without a split are spread, each kind and label by ``shares``.
        pools: kind -> good pictures.
        shares: side -> share.
        seed: of the spreading.

    Returns:
        The pairs in the order of the samples, and what to say about the goldens: rule, lowest and median likeness.

    Raises:
        DataError: ``E_GOLDEN_NONE`` where a kind has no good picture but the sample itself, or ``E_DATA_EMPTY``.
    """
    if not samples:
        raise DataError("E_DATA_EMPTY", "The source lists no test picture.", "Name a complete copy of the data set")
    open_ones = {s.name: f"{s.kind}\0{s.label}" for s in samples if not s.split}
    sides = spread(open_ones, shares, seed) if open_ones else {}
    goods = {kind: GoodPictures(paths) for kind, paths in pools.items() if paths}
    pairs, likeness = [], []
    for sample in samples:
        if not set(pools.get(sample.kind, ())) - {sample.test}:
            raise DataError(
                "E_GOLDEN_NONE",
                f"{sample.kind} has no good picture to serve as golden of {sample.test}.",
                f"Add good pictures of {sample.kind} to the training part",
            )
        golden, value = goods[sample.kind].nearest(sample.test)
        likeness.append(value)
        side = sample.split or sides[sample.name]
        group = safe_name(sample.kind)
        pairs.append(SourcePair(group, sample.name, sample.label, side, golden, sample.test, sample.mask))
    picked = {"rule": RULE, "lowest": round(min(likeness), 4), "median": round(median(likeness), 4)}
    return pairs, {**picked, "good_pictures": {kind: len(paths) for kind, paths in pools.items()}}

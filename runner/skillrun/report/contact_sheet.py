"""Which pairs of a data set are shown, and pairs of pictures side by side, within a budget of bytes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path

from skillrun.data.samples import SEED, Sample, some
from skillrun.report.thumbnails import Files, Thumb, thumbs

PAIRS = 40
# Masks are opened to tell changed pairs from others: of more, as many are looked at.
MASKS = 400
CHANGE, NO_CHANGE, NO_MASK = "change", "no change", "no mask"


@dataclass(frozen=True)
class Tile:
    """Pictures side by side with what there is to say of them.

    Attributes:
        group: the class of the pair, which the filters of the sheet go by; badge: what is told first.
        names: file and where it is named, or both files of two.
    """

    group: str
    badge: str
    names: tuple[str, ...]
    pictures: Sequence[Thumb]


@dataclass(frozen=True)
class Wanted:
    """A tile whose pictures have not been read yet; ``kinds`` renames golden and test."""

    group: str
    badge: str
    names: tuple[str, ...]
    files: Files
    kinds: tuple[str, str] = ("golden", "test")
    difference: bool = True

    def made(self) -> Tile:
        """The pictures read and shrunk; fewer where a file can not be read."""
        renamed = {**dict(zip(("golden", "test"), self.kinds, strict=True)), "difference": "difference"}
        found = [Thumb(renamed.get(one.kind, one.kind), one.uri) for one in thumbs(self.files)]
        return Tile(self.group, self.badge, self.names, [t for t in found if self.difference or t.kind != "difference"])


def within(wanted: Iterable[Wanted], budget: int) -> list[Tile]:
    """Tiles until the budget of characters is spent; the first is always there."""
    tiles: list[Tile] = []
    for one in wanted:
        tile = one.made()
        budget -= sum(len(thumb.uri) for thumb in tile.pictures)
        if tiles and budget < 0:
            break
        tiles.append(tile)
    return tiles


def sheet(samples: Sequence[Sample], most: int = PAIRS) -> Iterator[Wanted]:
    """At most ``most`` pairs, every class in turn, rare ones too; the same pairs give the same choice."""
    groups: dict[str, list[Sample]] = {}
    for group, sample in _grouped(samples):
        groups.setdefault(group, []).append(sample)
    draw = random.Random(SEED)
    drawn = [
        [(group, sample) for sample in draw.sample(inside, min(most, len(inside)))]
        for group, inside in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    in_turn = (one for one in chain.from_iterable(zip_longest(*drawn)) if one is not None)
    for group, sample in islice(in_turn, most):
        files = Files(sample.golden, sample.test, found=sample.mask)
        yield Wanted(group, group, names_of(sample), files, difference=sample.mask is None)


def _grouped(samples: Sequence[Sample]) -> Iterator[tuple[str, Sample]]:
    """Pairs with their class: the label, or what the mask says."""
    if not any(sample.mask for sample in samples):
        yield from ((sample.label or "no label", sample) for sample in samples)
        return
    for sample in some(samples, MASKS):
        yield (NO_MASK if sample.mask is None else CHANGE if _marks(sample.mask) else NO_CHANGE), sample


def _marks(mask: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(mask) as image:
            return bool(image.convert("L").getbbox())
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return False


def names_of(sample: Sample) -> tuple[str, str]:
    """The test picture, and the line that names it."""
    return sample.test.name, f"{sample.split or sample.source.parent.name}, line {sample.line}"

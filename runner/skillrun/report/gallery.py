"""Which pairs are worth a look, misses first, and their pictures within a budget of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, zip_longest
from typing import TypeVar

from skillrun.inspection import Outcome
from skillrun.report.segment import Mask
from skillrun.report.thumbnails import Files, Thumb, thumbs

T = TypeVar("T")

BUDGET = 3_300_000
CASES, ESCAPES, FALSE_CALLS = 120, 60, 40


@dataclass(frozen=True)
class Case:
    """One pair in the gallery.

    Attributes:
        name: its file or object. place: its folder or board. label: as in the data set.
        score: what is compared with the margin; of a segment pair the highest probability of a changed pixel.
        called: whether it was decided to be a defect. iou: of a segment pair.
        other: the score of the other run in a comparison.
    """

    name: str
    place: str
    label: str
    defect: bool
    called: bool
    score: float
    pictures: Sequence[Thumb] = ()
    iou: float | None = None
    other: float | None = None

    @property
    def outcome(self) -> str:
        """``escape``, ``false-call``, ``found`` or ``passed``."""
        if self.defect:
            return "found" if self.called else "escape"
        return "false-call" if self.called else "passed"


@dataclass(frozen=True)
class Gallery:
    """The cases that are shown, in order of interest, and of how many."""

    cases: Sequence[Case]
    total: int
    kinds: Sequence[str] = field(default=())


def classify_gallery(pairs: Sequence[Outcome], margin: float, locate: Callable[[Outcome], Files]) -> Gallery:
    """Escapes by the lowest score, false calls by the highest, then what lies nearest to the margin."""
    escapes = sorted((p for p in pairs if p.defect and p.score <= margin), key=lambda p: p.score)
    false_calls = sorted((p for p in pairs if not p.defect and p.score > margin), key=lambda p: -p.score)
    near = [
        sorted(
            (p for p in pairs if p.defect == kind and (p.score > margin) == kind), key=lambda p: abs(p.score - margin)
        )
        for kind in (True, False)
    ]
    ordered = _by_interest(escapes, false_calls, near)
    return filled(((case_of(pair, margin), locate(pair)) for pair in ordered), len(pairs))


def segment_gallery(masks: Sequence[Mask], locate: Callable[[str], Files]) -> Gallery:
    """Missed changes by size, false calls by size, then changed pairs by the lowest IoU."""
    escapes = sorted((m for m in masks if m.changed and not m.called), key=lambda m: -m.changed_share)
    false_calls = sorted((m for m in masks if not m.changed and m.called), key=lambda m: -m.predicted_share)
    found = sorted((m for m in masks if m.changed and m.called), key=lambda m: m.iou)
    passed = sorted((m for m in masks if not m.changed and not m.called), key=lambda m: -m.score)
    ordered = _by_interest(escapes, false_calls, [found, passed])
    return filled(((mask_case(mask), locate(mask.name)) for mask in ordered), len(masks))


def _by_interest(escapes: list[T], false_calls: list[T], right: list[list[T]]) -> list[T]:
    """At most `CASES`; a few kinds of wrong do not crowd out the other."""
    wrong = [*escapes[:ESCAPES], *false_calls[:FALSE_CALLS]]
    mixed = (one for one in chain.from_iterable(zip_longest(*right)) if one is not None)
    return list(islice(chain(wrong, mixed, escapes[ESCAPES:], false_calls[FALSE_CALLS:]), CASES))


def case_of(pair: Outcome, margin: float) -> Case:
    """A classify pair without its pictures."""
    cells = pair.cells
    name, place = cells.get("object_name", ""), cells.get("input_path", "")
    return Case(name, place, pair.label, pair.defect, pair.score > margin, pair.score)


def mask_case(mask: Mask) -> Case:
    """A segment pair without its pictures."""
    folder, _, name = mask.name.rpartition("/")
    label = "change" if mask.changed else "no change"
    return Case(name, folder, label, mask.changed, mask.called, mask.score, iou=mask.iou if mask.changed else None)


def filled(cases: Iterable[tuple[Case, Files]], total: int) -> Gallery:
    """Cases with their pictures, until the budget of characters is spent; the first is always there."""
    shown: list[Case] = []
    spent = 0
    for case, files in cases:
        pictures = thumbs(files)
        spent += sum(len(thumb.uri) for thumb in pictures)
        if shown and spent > BUDGET:
            break
        shown.append(replace(case, pictures=pictures))
    kinds = dict.fromkeys(thumb.kind for case in shown for thumb in case.pictures)
    return Gallery(shown, total, tuple(kinds))

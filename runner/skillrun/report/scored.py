"""The pairs of an evaluation of either task, as a comparison needs them: key, score, right or wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skillrun.inspection import read_outcomes
from skillrun.report.gallery import Case, case_of, mask_case
from skillrun.report.places import classify_files, segment_files
from skillrun.report.segment import mask_folder, read_masks
from skillrun.report.subject import Told

if TYPE_CHECKING:
    from skillrun.report.thumbnails import Files


@dataclass(frozen=True)
class Scored:
    """One pair of one run. ``key`` names it in any list of the same pictures."""

    key: tuple[str, ...]
    seen: Case
    locate: Callable[[], Files]

    @property
    def label(self) -> str:
        return self.seen.label

    @property
    def defect(self) -> bool:
        return self.seen.defect

    @property
    def score(self) -> float:
        return self.seen.score

    @property
    def iou(self) -> float | None:
        return self.seen.iou

    @property
    def right(self) -> bool:
        return self.seen.defect == self.seen.called

    @property
    def files(self) -> Files:
        return self.locate()

    def case(self, other: float) -> Case:
        """For the gallery, with the other run's score."""
        from dataclasses import replace

        return replace(self.seen, other=other)


def read_scored(run: Told) -> Iterator[Scored]:
    """All pairs that a run measured; raises NotFoundError where it left no table."""
    if run.task == "segment":
        where = segment_files(run.spec, mask_folder(run))
        for mask in read_masks(run):
            yield Scored((mask.name,), mask_case(mask), lambda name=mask.name: where(name))  # type: ignore[misc]
        return
    outcomes = read_outcomes(run.folder)
    place = classify_files(run.spec)
    for pair in outcomes.pairs:
        key = tuple(pair.cells.get(name, "") for name in ("input_path", "golden_path", "object_name"))
        yield Scored(key, case_of(pair, outcomes.margin), lambda pair=pair: place(pair))  # type: ignore[misc]

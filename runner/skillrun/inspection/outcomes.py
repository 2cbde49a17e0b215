"""The scored pairs of an evaluation, read from the table that it left."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skillrun.errors import DataError, NotFoundError
from skillrun.inspection.rates import Rate
from skillrun.runfolder import RunFolder, read_json

PASS = "PASS"
TABLE = "evaluate.csv"
SCORE, DECISION = "siamese_score", "predicted"


@dataclass(frozen=True)
class Outcome:
    """One pair: its CSV cells as they stood in the data set, its label and its score (higher = more different)."""

    label: str
    score: float
    cells: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def defect(self) -> bool:
        """Whether the label is anything but PASS, in whatever case."""
        return self.label.strip().upper() != PASS


@dataclass(frozen=True)
class Outcomes:
    """All pairs of an evaluation, and the margin that it decided at: a score above it is NO_PASS."""

    pairs: Sequence[Outcome]
    margin: float
    table: Path

    def escapes(self, margin: float | None = None) -> Rate:
        """Defects that pass, of all defects."""
        limit = self.margin if margin is None else margin
        defects = [pair for pair in self.pairs if pair.defect]
        return Rate(sum(pair.score <= limit for pair in defects), len(defects))

    def overkill(self, margin: float | None = None) -> Rate:
        """Good pairs that do not pass, of all good pairs."""
        limit = self.margin if margin is None else margin
        good = [pair for pair in self.pairs if not pair.defect]
        return Rate(sum(pair.score > limit for pair in good), len(good))


def read_outcomes(run: RunFolder) -> Outcomes:
    """The outcomes of a classify evaluation, by checkpoint or by engine.

    Raises:
        NotFoundError: ``E_EVALUATION_MISSING``: the run left no table of scored pairs.
        DataError: ``E_EVALUATION_TABLE``: a line of it can not be read.
    """
    result = read_json(run.result) or {}
    if result.get("task") == "segment":
        raise NotFoundError(
            "E_EVALUATION_MISSING",
            f"{run.run_id} is a segment run: it marks pixels, and has no margin between PASS and NO_PASS",
            f"skillrun report {run.run_id}",
        )
    listed = [run.path / str(item.get("path")) for item in result.get("artifacts") or []]
    table = next((path for path in listed if path.name == TABLE and path.is_file()), None)
    if table is None:
        raise NotFoundError(
            "E_EVALUATION_MISSING",
            f"{run.run_id} holds no scored pairs: it is no finished evaluation of a classify model",
            f"skillrun visual_changenet evaluate --parent {run.run_id}, then name that run",
        )
    margin = float((result.get("metrics") or {}).get("margin", 0.5))
    return Outcomes(_pairs(table, run.run_id), margin, table)


def _pairs(table: Path, run_id: str) -> list[Outcome]:
    with table.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        return [_outcome(row, f"{table}, line {reader.line_num}", run_id) for row in reader]


def _outcome(row: dict[str, str], place: str, run_id: str) -> Outcome:
    cells = {name: cell for name, cell in row.items() if name not in (SCORE, DECISION)}
    try:
        score = float(row[SCORE])
        if math.isfinite(score):
            return Outcome(row["label"], score, cells)
    except (KeyError, TypeError, ValueError):
        pass
    raise DataError(
        "E_EVALUATION_TABLE",
        f"{place}: no label with a finite {SCORE}",
        f"skillrun visual_changenet evaluate --parent {run_id}",
    )

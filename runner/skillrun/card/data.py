"""The data sets behind a model, counted where they still are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skillrun.card.family import Member
from skillrun.data.report import DatasetReport
from skillrun.data.rows import read_rows
from skillrun.data.segment_lists import find_list, read_lists
from skillrun.inspection.threshold import digest

# What a run reads, by its action, with the spec key of each task.
_SETS = {
    "classify": {"training": "train_dataset", "validation": "validation_dataset", "testing": "test_dataset"},
    "segment": {"training": "train_split", "validation": "validation_split", "testing": "test_split"},
}


@dataclass(frozen=True)
class DataSet:
    """One data set as a run names it and as it is now.

    Attributes:
        role: ``training``, ``validation`` or ``testing``.
        table: the CSV, or the list of a split.
        pairs: rows of it now; None where it can not be read any more.
        labels: rows per label; empty for segment.
        sha256: of the table now.
    """

    role: str
    table: Path
    pairs: int | None
    labels: Mapping[str, int] = field(default_factory=dict)
    sha256: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "role": self.role,
            "table": str(self.table),
            "pairs": self.pairs,
            "labels": dict(self.labels),
            "sha256": self.sha256 or None,
        }


def data_sets(member: Member, roles: tuple[str, ...]) -> list[DataSet]:
    """The data sets of these roles that a run's spec names."""
    return list(_found(member, roles))


def _found(member: Member, roles: tuple[str, ...]) -> Iterator[DataSet]:
    section = f"dataset.{member.task}"
    for role in roles:
        named = member.get(f"{section}.{_SETS[member.task][role]}")
        if member.task == "segment" and named and member.get(f"{section}.root_dir"):
            yield _split(role, member.get(section), str(named))
        elif isinstance(named, dict) and named.get("csv_path"):
            yield _table(role, Path(str(named["csv_path"])))


def _table(role: str, path: Path) -> DataSet:
    if not path.is_file():
        return DataSet(role, path, None)
    report = DatasetReport(path, "classify")
    rows = read_rows(path, report)
    return DataSet(role, path, len(rows), dict(sorted(report.labels.items())), digest(path))


def _split(role: str, segment: Mapping[str, Any], split: str) -> DataSet:
    root = Path(str(segment["root_dir"]))
    folder = root / str(segment.get("list_folder_name") or "list")
    path = find_list(folder, split)
    if path is None:
        return DataSet(role, folder / f"{split}.txt", None)
    report = DatasetReport(root, "segment")
    entries = read_lists(report, folder, root / str(segment.get("image_folder_name") or "A"), [split])
    return DataSet(role, path, len(entries), sha256=digest(path))

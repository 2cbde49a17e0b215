"""The split lists of a segment data set: which pairs belong to train, val, test and predict."""

from __future__ import annotations

import csv
import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skillrun.data.report import DatasetReport

ENDINGS = (".txt", ".csv")


@dataclass(frozen=True)
class Entry:
    """One line of a list; ``line`` is 1-based."""

    split: str
    source: Path
    line: int
    name: str

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.source}, line {self.line}"


def find_list(folder: Path, split: str) -> Path | None:
    """``<split>.txt``, else ``<split>.csv``, else the first of ``<split>*.txt`` and ``<split>*.csv`` by name."""
    exact = [path for ending in ENDINGS if (path := folder / f"{split}{ending}").is_file()]
    pattern = f"{glob.escape(split)}*"
    longer = [path for ending in ENDINGS for path in sorted(folder.glob(f"{pattern}{ending}")) if path.is_file()]
    return next(iter([*exact, *longer]), None)


def read_lists(report: DatasetReport, folder: Path, images: Path, splits: Sequence[str] | None) -> list[Entry]:
    """The lines of all lists, in order; what is wrong with a list goes into the report.

    Args:
        folder: the lists.
        images: the golden images; a line of several columns names the first that is a file there.
        splits: lists without their ending; None takes all that are there.
    """
    if not folder.is_dir():
        report.error(
            "E_DATA_FOLDER_MISSING",
            f"The folder {folder} does not exist.",
            file=folder,
            fix=f"Make {folder} with train.txt, val.txt and test.txt",
        )
        return []
    there = sorted({p.stem for p in folder.iterdir() if p.suffix in ENDINGS and not p.name.startswith(".")})
    wanted = there if splits is None else list(dict.fromkeys(splits))
    found = {split: _read_list(report, folder, images, split) for split in wanted}
    report.splits = {split: len(entries) for split, entries in found.items()}
    if not wanted:
        report.error("E_DATA_LIST_MISSING", f"{folder} holds no list.", file=folder, fix="Add train.txt")
    return [entry for entries in found.values() for entry in entries]


def _read_list(report: DatasetReport, folder: Path, images: Path, split: str) -> list[Entry]:
    path = find_list(folder, split)
    if path is None:
        report.error(
            "E_DATA_LIST_MISSING",
            f"{folder} holds neither {split}.txt nor {split}.csv.",
            file=folder,
            fix=f"Write one file name a line into {folder / f'{split}.txt'}",
        )
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        report.error("E_DATA_CSV_ENCODING", f"{path} is not UTF-8 text.", file=path, fix=f"Save {path} as UTF-8")
        return []
    named = ((number, _file_name(line.strip(), number, path, images)) for number, line in enumerate(lines, start=1))
    entries = [Entry(split, path, number, name) for number, name in named if name]
    if not entries:
        report.error("E_DATA_EMPTY", f"{path} lists no image.", file=path, fix=f"Add file names to {path}")
    return entries


def _file_name(line: str, number: int, path: Path, images: Path) -> str:
    """The file that a line names, blanks included; empty for a blank line, a comment or the header of a table."""
    table = path.suffix == ".csv"
    cells = [cell.strip() for cell in (next(csv.reader([line]), []) if table else line.split())]
    for candidate in (line, *cells):
        if candidate and (images / candidate).is_file():
            return candidate
    header = table and number == 1 and not all(PurePosixPath(cell).suffix for cell in (line, *cells))
    if not cells or header or line.startswith("#"):
        return ""
    return cells[0] if table or " " not in line or PurePosixPath(cells[0]).suffix else line

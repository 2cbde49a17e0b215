"""Classify CSVs with all their columns, and which image files belong to which row."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skillrun.data.folders import FolderIndex
from skillrun.data.layout import CSV_COLUMNS
from skillrun.data.report import DatasetReport
from skillrun.data.rows import read_rows
from skillrun.errors import DataError


@dataclass(frozen=True)
class Table:
    """The columns of a CSV, and column -> cell of every row."""

    columns: tuple[str, ...]
    rows: list[dict[str, str]]


def read_table(path: Path) -> Table:
    """Read a CSV that the check finds no error in.

    Raises:
        DataError: the first error that ``data check`` would name.
    """
    report = DatasetReport(path, "classify")
    read_rows(path, report)
    report.raise_first()
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = [row for row in reader if any((cell or "").strip() for cell in row.values())]
        return Table(tuple(reader.fieldnames or CSV_COLUMNS), rows)


def write_table(path: Path, table: Table) -> None:
    """Write a CSV as the layout asks: UTF-8, commas, ``\\n``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, table.columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(table.rows)


class RowImages:
    """The image files of rows, as paths relative to the image folder; see `images_of_rows`."""

    def __init__(self, images: Path, owned: Mapping[tuple[str, str], Sequence[str]], index: FolderIndex) -> None:
        self._images, self._owned, self._index = images, owned, index

    def test(self, row: Mapping[str, str]) -> list[Path]:
        """The test images, one a light.

        Raises:
            DataError: ``E_DATA_IMAGE_MISSING`` if there is none, ``E_DATA_PATH_ESCAPES``.
        """
        return self._required(row, "input_path", self._owned.get((row["input_path"], row["object_name"]), ()))

    def golden(self, row: Mapping[str, str]) -> list[Path]:
        """The golden images of the row's name; where there is none, all of the golden folder."""
        folder = row["golden_path"]
        names = self._owned.get((folder, row["object_name"])) or sorted(self._index.names(self._images / folder))
        return self._required(row, "golden_path", names)

    def of(self, row: Mapping[str, str]) -> list[Path]:
        """All of them."""
        return [*self.test(row), *self.golden(row)]

    def _required(self, row: Mapping[str, str], column: str, names: Sequence[str]) -> list[Path]:
        folder = PurePosixPath(row[column])
        if folder.is_absolute() or ".." in folder.parts:
            raise DataError(
                "E_DATA_PATH_ESCAPES",
                f"{column} {row[column]!r} leaves {self._images}.",
                f"Write {column} relative to it",
            )
        if not names:
            place = self._images / folder / row["object_name"]
            raise DataError(
                "E_DATA_IMAGE_MISSING", f"There is no image {place}.* ({column}).", f"Put the image at {place}.png"
            )
        return [Path(folder, name) for name in names]


def images_of_rows(images: Path, rows: Sequence[Mapping[str, str]]) -> RowImages:
    """Find the files of each row: ``<object_name>.*`` and, of several lights, ``<object_name>_<light>.*``.

    A file that two names could claim belongs to the longer one.
    """
    index = FolderIndex()
    known: dict[str, set[str]] = {}
    for row in rows:
        for column in ("input_path", "golden_path"):
            known.setdefault(row[column], set()).add(row["object_name"])
    owned: dict[tuple[str, str], list[str]] = {}
    for folder, objects in known.items():
        for name in sorted(index.names(images / folder)):
            owner = PurePosixPath(name).stem
            while owner and owner not in objects:
                owner = owner.rpartition("_")[0]
            if owner:
                owned.setdefault((folder, owner), []).append(name)
    return RowImages(images, owned, index)

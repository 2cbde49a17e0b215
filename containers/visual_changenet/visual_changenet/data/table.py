"""Reading the CSV that lists objects: every cell a string, the row order kept, errors with file and row."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from visual_changenet.errors import DataInvalidError, MissingFileError

REQUIRED = ("input_path", "golden_path", "label", "object_name")
UNLABELLED = ("input_path", "golden_path", "object_name")
PASS = "PASS"


@dataclass(frozen=True)
class Row:
    """One object. ``line`` is the line of the file where the row ends, counted from 1."""

    line: int
    cells: dict[str, str]

    @property
    def target(self) -> int:
        """0 for the exact label ``PASS`` (and where there is no label), else 1."""
        return 0 if self.cells.get("label", PASS) == PASS else 1


@dataclass(frozen=True)
class Table:
    """A CSV file: its columns in order and its rows in order."""

    path: Path
    columns: list[str]
    rows: list[Row]


def _bad(path: Path, what: str, fix: str, code: str = "E_DATA_TABLE") -> DataInvalidError:
    return DataInvalidError(code, f"{path}: {what}", fix)


def _check_header(path: Path, header: list[str], required: tuple[str, ...]) -> None:
    if not header:
        raise _bad(path, "the file is empty.", f"write a header with {', '.join(REQUIRED)} and one row per object")
    if header[0].startswith("\ufeff"):
        raise _bad(path, "row 1 starts with a byte order mark (BOM).", "save the file as UTF-8 without BOM")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise _bad(path, f"row 1 is not separated by commas: {header[0]!r}.", "save the file with ',' as separator")
    missing = [name for name in required if name not in header]
    if missing:
        raise _bad(path, f"row 1 has no column {missing[0]!r}; it has {header}.", f"add the column {missing[0]!r}")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise _bad(path, f"row 1 has the column {repeated[0]!r} twice.", "rename or remove one of them")


def read_table(csv_path: str | Path, *, key: str, labelled: bool = True) -> Table:
    """Read and check a classify CSV.

    Args:
        csv_path: the file; ``key`` is the spec key it came from, for the message.
        labelled: whether the column ``label`` must be there.

    Raises:
        MissingFileError: ``E_DATA_TABLE_MISSING``.
        DataInvalidError: ``E_DATA_TABLE`` (header, row width, encoding) or ``E_DATA_EMPTY``.
    """
    path = Path(csv_path)
    if not str(csv_path) or not path.is_file():
        raise MissingFileError(
            "E_DATA_TABLE_MISSING",
            f"{key} is {str(csv_path)!r}, which is not a file.",
            f"set {key} to a CSV file",
        )
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            _check_header(path, header, REQUIRED if labelled else UNLABELLED)
            rows = [_row(path, header, cells, reader.line_num) for cells in reader if cells]
    except UnicodeDecodeError as error:
        raise _bad(path, f"byte {error.start} is not UTF-8.", "save the file as UTF-8") from error
    except csv.Error as error:
        raise _bad(path, f"not a CSV file: {error}.", "write it with a CSV library") from error
    if not rows:
        raise _bad(path, "there is a header, but no row.", "add at least one row", code="E_DATA_EMPTY")
    return Table(path, header, rows)


def _row(path: Path, header: list[str], cells: list[str], line: int) -> Row:
    if len(cells) != len(header):
        what = f"row {line} has {len(cells)} cells, the header has {len(header)}."
        raise _bad(path, what, "quote cells that contain a comma")
    return Row(line, dict(zip(header, cells, strict=True)))

"""A classify CSV as spreadsheets leave it, mended: encoding, delimiter, header, cells, duplicate rows."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skillrun.data.folders import IMAGE_SUFFIXES
from skillrun.data.layout import CSV_COLUMNS, PASS
from skillrun.data.rows import BOM, OTHER_DELIMITERS, WIDE_BOMS
from skillrun.errors import DataError

# What Windows programs of western languages write where it is not UTF-8.
FALLBACK = "cp1252"
# How like a documented name a column's name must be, 0 to 1.
LIKE = 0.7


@dataclass(frozen=True)
class Change:
    """One thing that was mended; ``line`` is that of the source, None where all of the file is meant."""

    file: str
    line: int | None
    what: str


def mend_text(raw: bytes, file: str) -> tuple[str, list[Change]]:
    """The text of a file in UTF-8, UTF-16 or `FALLBACK`, and what had to be done.

    Raises:
        DataError: ``E_FIX_ENCODING``, none of them fits.
    """
    if raw.startswith(WIDE_BOMS):
        encoding, what = "utf-16", "was UTF-16, is UTF-8"
    elif b"\0" in raw[:200]:
        encoding = "utf-16-le" if raw[1:2] == b"\0" else "utf-16-be"
        what = "was UTF-16 without a byte order mark, is UTF-8"
    elif raw.startswith(BOM):
        encoding, what = "utf-8-sig", "byte order mark removed"
    else:
        encoding, what = "utf-8", ""
    try:
        return raw.decode(encoding), [Change(file, None, what)] if what else []
    except UnicodeDecodeError:
        try:
            return raw.removeprefix(BOM).decode(FALLBACK), [Change(file, None, f"read as {FALLBACK}, is UTF-8")]
        except UnicodeDecodeError as cause:
            raise DataError(
                "E_FIX_ENCODING", f"{file} is neither UTF-8, UTF-16 nor {FALLBACK}.", f"Save {file} as UTF-8"
            ) from cause


def mend_csv(raw: bytes, file: str) -> tuple[bytes, list[Change]]:
    """The CSV as the layout asks, and every change.

    The documented columns come first, others follow. What can not be mended (rows of the wrong width, labels that
    contradict each other) stays, for the check to name.

    Raises:
        DataError: ``E_FIX_ENCODING``, ``E_FIX_HEADER`` or ``E_DATA_EMPTY``.
    """
    text, changes = mend_text(raw, file)
    delimiter = _delimiter(text)
    if delimiter != ",":
        changes.append(Change(file, 1, f"{OTHER_DELIMITERS[delimiter]} between columns became commas"))
    records = _records(text, delimiter)
    if not records:
        raise DataError("E_DATA_EMPTY", f"{file} is empty.", "Add a header and rows")
    header, renamed = _header(records[0][1], file)
    order = sorted(range(len(header)), key=lambda at: (_rank(header[at]), at))
    if order != list(range(len(header))):
        renamed.append(Change(file, 1, "columns put in the documented order"))
    rows, mended = _rows(records[1:], header, order, file)
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([[header[at] for at in order], *rows])
    return out.getvalue().encode("utf-8"), [*changes, *renamed, *mended]


def _delimiter(text: str) -> str:
    """The one that splits the first line into most columns with a documented name; a comma in doubt."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    known = {delimiter: _known_columns(first, delimiter) for delimiter in (",", *OTHER_DELIMITERS)}
    return max(known, key=lambda delimiter: known[delimiter])


def _known_columns(line: str, delimiter: str) -> int:
    return sum(_documented(cell) is not None for cell in next(csv.reader([line], delimiter=delimiter), []))


def _records(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """First line and cells of every record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    records, start = [], 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            records.append((start, cells))
        start = reader.line_num + 1
    return records


def _documented(name: str) -> str | None:
    """The documented column that a name means."""
    plain = "_".join(name.strip().lower().replace("-", " ").replace("_", " ").split())
    near = difflib.get_close_matches(plain, CSV_COLUMNS, n=1, cutoff=LIKE)
    return near[0] if near else None


def _rank(name: str) -> int:
    return CSV_COLUMNS.index(name) if name in CSV_COLUMNS else len(CSV_COLUMNS)


def _header(cells: Sequence[str], file: str) -> tuple[list[str], list[Change]]:
    exact = {cell for cell in cells if cell in CSV_COLUMNS}
    header, changes = [], []
    for cell in cells:
        meant = _documented(cell)
        # A second column that only resembles one keeps its name.
        taken = cell not in CSV_COLUMNS and (meant in exact or meant in header)
        name = cell.strip() if meant is None or taken else meant
        header.append(name)
        if name != cell:
            changes.append(Change(file, 1, f"column {cell!r} is {name!r}"))
    missing = [name for name in CSV_COLUMNS if header.count(name) != 1]
    if missing:
        raise DataError(
            "E_FIX_HEADER",
            f"{file}, line 1: no column, or more than one, can be {' or '.join(missing)}; found {', '.join(cells)}.",
            f"Make line 1: {','.join(CSV_COLUMNS)}",
        )
    return header, changes


def _rows(
    records: Sequence[tuple[int, list[str]]], header: Sequence[str], order: Sequence[int], file: str
) -> tuple[list[list[str]], list[Change]]:
    rows, changes = [], []
    seen: dict[tuple[str, ...], int] = {}
    for line, record in records:
        cells = list(record)
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(record):
            changes.append(Change(file, line, "empty cells at the end removed"))
        if len(cells) != len(header):
            rows.append(cells)
            continue
        values = dict(zip(header, cells, strict=True))
        for column in CSV_COLUMNS:
            mended = _cell(column, values[column])
            if mended != values[column]:
                changes.append(Change(file, line, f"{column} {values[column]!r} became {mended!r}"))
                values[column] = mended
        first = seen.setdefault(tuple(values[column] for column in CSV_COLUMNS), line)
        if first != line:
            changes.append(Change(file, line, f"removed: the same as line {first}"))
            continue
        rows.append([values[header[at]] for at in order])
    return rows, changes


def _cell(column: str, value: str) -> str:
    text = value.strip()
    if column == "label":
        return PASS if text.upper() == PASS else text
    if column.endswith("_path"):
        return text.replace("\\", "/")
    # The spec adds the extension; a name that has it already would be looked for with two.
    return text[: -len(suffix)] if (suffix := PurePosixPath(text).suffix).lower() in IMAGE_SUFFIXES else text


def mended_name(name: str) -> str:
    """A file name with the usual spelling of its image extension: ``.JPG`` and ``.jpeg`` are ``.jpg``."""
    suffix = Path(name).suffix
    usual = {".jpeg": ".jpg", ".tiff": ".tif"}.get(suffix.lower(), suffix.lower())
    return name.removesuffix(suffix) + usual if suffix.lower() in IMAGE_SUFFIXES else name

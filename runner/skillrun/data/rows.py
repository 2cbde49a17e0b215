"""Reading a classify CSV the way a person would: every defect named with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skillrun.data.layout import CSV_COLUMNS, PASS
from skillrun.data.report import DatasetReport

BOM = b"\xef\xbb\xbf"
WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Row:
    """One sample of a classify CSV and its 1-based line."""

    line: int
    input_path: str
    golden_path: str
    label: str
    object_name: str


def read_rows(csv_path: Path, report: DatasetReport) -> list[Row]:
    """All usable rows; what is wrong with the file goes into ``report``."""
    text = _read_text(csv_path, report)
    if text is None:
        return []
    records = _records(text)
    header = next(records, None)
    if header is None:
        report.error("E_DATA_EMPTY", f"{csv_path} is empty.", file=csv_path, fix="Add a header and rows")
        return []
    places = _column_places(csv_path, header[1], report)
    if places is None:
        return []
    rows = [row for record in records if (row := _row(csv_path, record, len(header[1]), places, report))]
    if not rows and not report.counts["E_DATA_CSV_COLUMNS"]:
        report.error("E_DATA_EMPTY", f"{csv_path} has a header but no rows.", file=csv_path, fix="Add rows")
    _check_labels(csv_path, rows, report)
    _check_duplicates(csv_path, rows, report)
    return rows


def _read_text(path: Path, report: DatasetReport) -> str | None:
    if not path.is_file():
        report.error("E_DATA_CSV_MISSING", f"The CSV {path} does not exist.", file=path, fix=f"Put it at {path}")
        return None
    raw = path.read_bytes()
    if raw.startswith(BOM):
        report.error(
            "E_DATA_CSV_BOM",
            f"{path} starts with a byte order mark, which becomes part of {CSV_COLUMNS[0]}.",
            file=path,
            line=1,
            fix=f"Save {path} as UTF-8 without BOM",
        )
        raw = raw.removeprefix(BOM)
    if not raw.startswith(WIDE_BOMS) and b"\0" not in raw:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as cause:
            line = raw[: cause.start].count(b"\n") + 1
    else:
        line = 1
    report.error(
        "E_DATA_CSV_ENCODING",
        f"{path}, line {line}: not UTF-8 text.",
        file=path,
        line=line,
        fix=f"Save {path} as UTF-8",
    )
    return None


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """First line and cells of every record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""))
    start = 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield start, cells
        start = reader.line_num + 1


def _column_places(path: Path, header: list[str], report: DatasetReport) -> dict[str, int] | None:
    missing = [name for name in CSV_COLUMNS if header.count(name) != 1]
    if not missing:
        return {name: header.index(name) for name in CSV_COLUMNS}
    wanted = ",".join(CSV_COLUMNS)
    for delimiter, word in OTHER_DELIMITERS.items():
        if len(header) == 1 and set(CSV_COLUMNS) <= {c.strip() for c in header[0].split(delimiter)}:
            report.error(
                "E_DATA_CSV_DELIMITER",
                f"{path}, line 1: columns are separated by {word}, not commas.",
                file=path,
                line=1,
                fix=f"Save {path} with commas: {wanted}",
            )
            return None
    report.error(
        "E_DATA_CSV_COLUMNS",
        f"{path}, line 1: column(s) {', '.join(missing)} must appear once; found {','.join(header)!r}.",
        file=path,
        line=1,
        fix=f"Make line 1: {wanted}",
    )
    return None


def _row(
    path: Path, record: tuple[int, list[str]], width: int, places: dict[str, int], report: DatasetReport
) -> Row | None:
    line, cells = record
    if len(cells) != width:
        report.error(
            "E_DATA_CSV_COLUMNS",
            f"{path}, line {line}: {len(cells)} cells, the header has {width}.",
            file=path,
            line=line,
            fix=f"Correct line {line}; quote cells that hold a comma",
        )
        return None
    values = {name: cells[place] for name, place in places.items()}
    empty = [name for name, value in values.items() if not value.strip()]
    if empty:
        report.error(
            "E_DATA_CSV_VALUE",
            f"{path}, line {line}: {', '.join(empty)} is empty.",
            file=path,
            line=line,
            fix=f"Fill {', '.join(empty)} in line {line}",
        )
        return None
    return Row(line, **values)


def _check_labels(path: Path, rows: list[Row], report: DatasetReport) -> None:
    report.labels.update(row.label for row in rows)
    for row in rows:
        if row.label != PASS and row.label.strip().upper() == PASS:
            report.warn(
                "W_DATA_LABEL_CASE",
                f"{path}, line {row.line}: label {row.label!r} counts as a defect; only {PASS!r} is a pass.",
                file=path,
                line=row.line,
                fix=f"Write {PASS} in line {row.line}",
            )
    passed = report.labels[PASS]
    if rows and passed in (0, len(rows)):
        report.warn(
            "W_DATA_ONE_CLASS",
            f"{path}: all {len(rows)} rows are {PASS if passed else 'defects'}; nothing can be told apart.",
            file=path,
            fix="Add rows of the other class",
        )


def _check_duplicates(path: Path, rows: list[Row], report: DatasetReport) -> None:
    first: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        other = first.setdefault((row.input_path, row.golden_path, row.object_name), row)
        if other is row:
            continue
        report.duplicates += 1
        place = f"{path}, line {row.line}: the same sample as line {other.line}"
        fix = f"Remove line {row.line}"
        if row.label == other.label:
            report.warn("W_DATA_DUPLICATE", f"{place}.", file=path, line=row.line, fix=fix)
        else:
            report.error(
                "E_DATA_LABEL_CONFLICT",
                f"{place}, but labelled {row.label!r}, not {other.label!r}.",
                file=path,
                line=row.line,
                fix=fix,
            )

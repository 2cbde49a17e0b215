"""Reading the split lists of a segment data set: which pairs belong to train, validation and test."""

from __future__ import annotations

import csv
import glob
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from visual_changenet.errors import DataInvalidError, MissingFileError


@dataclass(frozen=True)
class Entry:
    """One pair. ``line`` is its line in the list, counted from 1."""

    line: int
    name: str


@dataclass(frozen=True)
class SplitList:
    """A list file and its pairs in order."""

    path: Path
    entries: list[Entry]


def find_list(folder: Path, split: str) -> Path | None:
    """``<split>.txt``, else ``<split>.csv``, else the first ``<split>*.txt`` or ``<split>*.csv`` by name."""
    for ending in (".txt", ".csv"):
        if (folder / f"{split}{ending}").is_file():
            return folder / f"{split}{ending}"
    for ending in (".txt", ".csv"):
        found = sorted(path for path in folder.glob(f"{glob.escape(split)}*{ending}") if path.is_file())
        if found:
            return found[0]
    return None


def read_list(path: Path, images: Path) -> SplitList:
    """Read a split list.

    A line is a file name below ``images``, blanks included. Where no such file exists and the line has several
    columns (separated by blanks, in a ``.csv`` by commas), the first column that names a file counts. The
    first line of a ``.csv`` is a header where none of its cells names a file and a cell has no file ending.

    Raises:
        DataInvalidError: ``E_DATA_LIST`` (encoding, a path outside the folder), ``E_DATA_EMPTY`` or
            ``E_DATA_IMAGE_MISSING``; the message names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataInvalidError(
            "E_DATA_LIST", f"{path}: byte {error.start} is not UTF-8.", "save the file as UTF-8"
        ) from error
    entries = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or (number == 1 and path.suffix == ".csv" and _is_header(text, images)):
            continue
        name = _name(text, path, images)
        if name is None and text.startswith("#"):
            continue
        entries.append(Entry(number, _checked(name, text, number, path, images)))
    if not entries:
        raise DataInvalidError("E_DATA_EMPTY", f"{path} names no image.", "write one file name per line")
    return SplitList(path, entries)


def _cells(text: str, path: Path) -> list[str]:
    cells = next(csv.reader([text])) if path.suffix == ".csv" else text.split()
    return [cell.strip() for cell in cells]


def _is_header(text: str, images: Path) -> bool:
    cells = [text, *_cells(text, Path("list.csv"))]
    return _name(text, Path("list.csv"), images) is None and not all(PurePosixPath(cell).suffix for cell in cells)


def _name(text: str, path: Path, images: Path) -> str | None:
    return next((cell for cell in [text, *_cells(text, path)] if cell and (images / cell).is_file()), None)


def _checked(name: str | None, text: str, line: int, path: Path, images: Path) -> str:
    shown = name or (text if " " in text and path.suffix != ".csv" else _cells(text, path)[0])
    if PurePosixPath(shown).is_absolute() or ".." in PurePosixPath(shown).parts:
        raise DataInvalidError(
            "E_DATA_LIST",
            f"{path} line {line}: {shown!r} lies outside of {images}.",
            f"name files below {images}",
        )
    if name is None:
        raise DataInvalidError(
            "E_DATA_IMAGE_MISSING",
            f"{path} line {line}: there is no image {images / shown}.",
            "correct the line, dataset.segment.image_folder_name or root_dir",
        )
    return name


def split_list(folder: Path, split: str, images: Path, *, key: str) -> SplitList:
    """Find and read the list of ``split``, which the spec names under ``key``.

    Raises:
        MissingFileError: ``E_DATA_LIST_MISSING`` where there is no list.
        DataInvalidError: as ``read_list``.
    """
    path = find_list(folder, split) if split else None
    if path is None:
        raise MissingFileError(
            "E_DATA_LIST_MISSING",
            f"{key} is {split!r}, but {folder} has neither {split}.txt nor {split}.csv.",
            f"write one file name per line into {folder / f'{split}.txt'}, or set {key} to the name of another list",
        )
    return read_list(path, images)

"""Copies of data sets, file by file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from skillrun.data.check import CSV_NAME
from skillrun.data.folders import is_hidden
from skillrun.data.layout import MANIFEST
from skillrun.errors import DataError, NotFoundError


def copy_file(source: Path, target: Path, *, link: bool = False) -> None:
    """Copy a file; folders are made. ``link`` makes a hard link where the file system allows one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        with suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def visible_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is not a system's leftover, as a relative path, by name."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(map(is_hidden, inside.parts)):
            yield inside


def find_sets(source: Path) -> tuple[str, list[Path]]:
    """What lies at ``source``: ``classify`` and the folders that hold a ``dataset.csv``, or ``segment`` and its root.

    Raises:
        NotFoundError: ``E_DATA_NOT_FOUND``.
        DataError: ``E_DATA_LAYOUT``, it is none of them.
    """
    if not source.is_dir():
        raise NotFoundError("E_DATA_NOT_FOUND", f"{source} is no folder.", "Name the folder of a data set")
    if (source / CSV_NAME).is_file():
        return "classify", [source]
    if (source / "A").is_dir() and (source / "B").is_dir():
        return "segment", [source]
    inside = [child for child in sorted(source.iterdir()) if (child / CSV_NAME).is_file()]
    if not inside:
        raise DataError(
            "E_DATA_LAYOUT",
            f"{source} is no data set: it holds no {CSV_NAME}, no A/ and B/, and no folder with a {CSV_NAME}.",
            "skillrun data synth --out DIR writes an example of the layout",
        )
    return "classify", inside


def origin_of(source: Path) -> dict[str, Any]:
    """``source`` of the manifest of a data set or of the folder that holds it; empty where there is none."""
    for folder in (source, source.resolve().parent):
        with suppress(OSError, ValueError):
            found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if isinstance(found, dict) and isinstance(found.get("source"), dict):
                return dict(found["source"])
    return {}

"""Which samples belong together, because they show the same thing: a board, a scene, an object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from skillrun.errors import UsageError

# What the names of known data sets tell; the first group of the pattern is the sample's group.
KNOWN = {
    "DeepPCB": r"(\d{5})",
    "synth": r"(board_\d+)",
    "LEVIR-CD": r"(.+?)_\d+_\d+$",
}
# These have one picture of each thing; there is nothing to keep together.
SINGLE = ("MVTec AD", "VisA")
TILE = re.compile(r"(?:_\d+_x\d+_y\d+|_x\d+_y\d+|_\d{4}_\d{4})$")
BOARD, OBJECT = "board", "object"


def group_of_row(row: Mapping[str, str], by: str | None, origin: Mapping[str, Any]) -> str:
    """The group of one row of a classify CSV.

    Args:
        row: column -> cell.
        by: ``board`` (input_path), ``object`` (object_name) or a column; None takes what the data set's origin
            tells: the board type of DeepPCB, each sample on its own where they are known to be single, else the board.
        origin: ``source`` of the manifest.

    Raises:
        UsageError: ``E_SPLIT_GROUP``, no such column.
    """
    name = str(origin.get("name", ""))
    if by is None and name in SINGLE:
        return row["object_name"]
    if by is None and name in KNOWN:
        found = re.match(KNOWN[name], PurePosixPath(row["input_path"]).name)
        return found[1] if found else row["input_path"]
    column = {None: "input_path", BOARD: "input_path", OBJECT: "object_name"}.get(by, by)
    if column not in row:
        columns = ", ".join(row)
        raise UsageError(
            "E_SPLIT_GROUP", f"There is no column {column!r} to group by among {columns}.", "--group board"
        )
    return row[str(column)]


def group_of_name(stem: str, by: str | None, origin: Mapping[str, Any]) -> str:
    """The group of one pair of a segment data set.

    Args:
        stem: its file name without ending.
        by: ``board`` cuts what tells a tile's place (``_x8_y16``, ``_0256_0512``); ``object`` keeps each pair alone;
            None takes what the data set's origin tells, else ``board``.
        origin: ``source`` of the manifest.

    Raises:
        UsageError: ``E_SPLIT_GROUP``, anything else.
    """
    if by not in (None, BOARD, OBJECT):
        raise UsageError("E_SPLIT_GROUP", f"A segment data set has no column {by!r} to group by.", "--group board")
    name = str(origin.get("name", ""))
    if by == OBJECT or (by is None and name in SINGLE):
        return stem
    if by is None and name in KNOWN:
        found = re.match(KNOWN[name], stem)
        return found[1] if found else stem
    return TILE.sub("", stem)

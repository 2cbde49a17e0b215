"""Both files of a report into the run's folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.report.content import content
from skillrun.report.page import render
from skillrun.report.subject import find_subject
from skillrun.runfolder import RunFolder, write_atomic

PAGE, NUMBERS = "report.html", "report.json"


@dataclass(frozen=True)
class Written:
    """Where the page and its machine copy lie, and what they say."""

    page: Path
    json: Path
    numbers: dict[str, Any]


def write(run: RunFolder) -> Written:
    """``report.html`` and ``report.json`` of a run; earlier ones are replaced.

    Raises:
        NotFoundError: the folder is no run, or it left nothing to show.
    """
    found = content(find_subject(run))
    return write_pair(run.path / PAGE, run.path / NUMBERS, render(found), found.numbers)


def write_pair(page: Path, numbers: Path, text: str, values: dict[str, Any]) -> Written:
    """A page and its numbers, each whole or not at all; texts that are no UTF-8 become question marks."""
    for path, content_ in ((page, text), (numbers, json.dumps(values, indent=1, ensure_ascii=False) + "\n")):
        write_atomic(path, content_.encode("utf-8", errors="replace").decode("utf-8"))
    return Written(page, numbers, values)

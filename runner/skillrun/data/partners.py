"""Files of a segment data set without their partner, and files that are no data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from skillrun.data.folders import is_hidden
from skillrun.data.report import DatasetReport, Unpaired

FIRST_NAMES = 20


def check_partners(report: DatasetReport, folders: Sequence[Path]) -> None:
    """Count files by name without ending in golden, test and mask folder, also those that no list names.

    An image without mask is counted only: pairs that are predicted need none. Findings: ``W_DATA_UNPAIRED``,
    ``W_DATA_HIDDEN``.
    """
    golden, test, masks = (set(_stems(report, folder)) for folder in folders)
    a, b, label = (folder.name for folder in folders)
    missing = {
        f"{a} without {b}": golden - test,
        f"{b} without {a}": test - golden,
        f"{label} without image": masks - golden - test,
        f"image without {label}": (golden & test) - masks,
    }
    for what, names in missing.items():
        if names:
            report.unpaired[what] = Unpaired(len(names), tuple(sorted(names)[:FIRST_NAMES]))
            if not what.startswith("image"):
                _warn(report, what, report.unpaired[what])
    report.unused = len(golden | test) - len({sample.golden.stem for sample in report.samples})
    if report.hidden:
        report.warn(
            "W_DATA_HIDDEN",
            f"{report.path} holds {report.hidden} hidden file(s), such as .DS_Store; they are not read.",
            file=report.path,
            fix=f"Remove the hidden files from {report.path}",
        )


def _warn(report: DatasetReport, what: str, missing: Unpaired) -> None:
    more = f" and {missing.count - len(missing.names)} more" if missing.count > len(missing.names) else ""
    report.warn(
        "W_DATA_UNPAIRED",
        f"{report.path}: {missing.count} file(s) of {what}: {', '.join(missing.names)}{more}.",
        file=report.path,
        fix="Add the missing partners, or remove these files",
    )


def _stems(report: DatasetReport, folder: Path) -> Iterable[str]:
    """Visible files below a folder, relative to it and without ending; hidden ones are counted."""
    for parent, _, names in os.walk(folder):
        inside = Path(parent).relative_to(folder)
        for name in names:
            if is_hidden(name) or any(map(is_hidden, inside.parts)):
                report.hidden += 1
            else:
                yield str(inside / Path(name).stem)

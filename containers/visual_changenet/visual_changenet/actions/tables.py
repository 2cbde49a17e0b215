"""CSV files of predictions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from visual_changenet.atomic import write_text_atomic
from visual_changenet.session import Session


def write_table(session: Session, path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV (UTF-8, ``\\n``), floats with nine digits, and list it in the result."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"{cell:.9g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    write_text_atomic(path, text.getvalue())
    session.add_artifact(path, "table")

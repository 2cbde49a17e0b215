"""status.json in the published line format: one JSON object per line, appended."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from visual_changenet.events import finite

State = Literal["STARTED", "RUNNING", "SUCCESS", "FAILURE", "SKIPPED"]


class StatusLog:
    """Appends status lines. ``kpi`` sticks: it is repeated until it is replaced, as readers expect.

    Without a path nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.kpi: dict[str, float] = {}

    def write(
        self,
        status: State,
        message: str,
        *,
        kpi: dict[str, float] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Append a line: caller data, date (M/D/YYYY), time (H:M:S), status, verbosity, message, kpi."""
        if self.path is None:
            return
        if kpi is not None:
            self.kpi = kpi
        moment = datetime.now()
        record: dict[str, Any] = {
            **(data or {}),
            "date": f"{moment.month}/{moment.day}/{moment.year}",
            "time": f"{moment.hour}:{moment.minute}:{moment.second}",
            "status": status,
            "verbosity": "INFO",
            "message": message,
        }
        if self.kpi:
            record["kpi"] = self.kpi
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(finite(record), ensure_ascii=False) + "\n")

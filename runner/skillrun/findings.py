"""What a check found: one problem with a code, a place and a fix. Checks of data, specs and hosts speak this way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        code: stable; ``E_…`` for errors, ``W_…`` for warnings.
        severity: ``error`` (a run would fail or learn nonsense) or ``warning``.
        message: one sentence with file, line, key or value.
        file: the file to mend, or empty.
        line: its line, 1-based, where it has lines.
        fix: what mends it: a command, an override ``key=value``, or an edit.
    """

    code: str
    severity: Severity
    message: str
    file: str = ""
    line: int | None = None
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        place = {"file": self.file, "line": self.line}
        return {"code": self.code, "severity": self.severity, "message": self.message, **place, "fix": self.fix}

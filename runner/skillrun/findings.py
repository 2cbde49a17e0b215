"""What a check found: one problem with a code, a place and a fix. Checks of data, specs and hosts speak this way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from skillrun import __version__

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

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


def to_sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as one SARIF 2.1.0 document, which code hosts and editors read.

    A fix here is words or an override, not an edit of a file, so it is told in ``properties.fix``.
    """
    codes = sorted({finding.code for finding in findings})
    driver = {"name": "skillrun", "version": __version__, "rules": [{"id": code} for code in codes]}
    results = [_result(finding, codes.index(finding.code)) for finding in findings]
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": finding.message},
    }
    if finding.file:
        place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.file)}}
        if finding.line:
            place["region"] = {"startLine": finding.line}
        result["locations"] = [{"physicalLocation": place}]
    if finding.fix:
        result["properties"] = {"fix": finding.fix}
    return result


def _uri(file: str) -> str:
    """An absolute path as ``file://``, a relative one as a relative reference; names that are no text survive both."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))

"""What a check of a data set found: findings with a place and a fix, and counts of everything."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skillrun.errors import DataError
from skillrun.findings import Finding

if TYPE_CHECKING:
    from skillrun.data.samples import Sample
    from skillrun.data.shifts import Shift

# Details kept of each code; all are counted.
DETAILS_PER_CODE = 20
# Shifts that are listed.
WORST_SHIFTS = 12


def copy_command(verb: str, folder: Path) -> str:
    """``skillrun data VERB`` from a data set to a new folder beside it."""
    source = folder.absolute()
    return shlex.join(["skillrun", "data", verb, str(source), str(source.with_name(f"{source.name}-{verb}"))])


@dataclass(frozen=True)
class Unpaired:
    """Files without a partner: how many, and the first names."""

    count: int
    names: tuple[str, ...]


@dataclass
class DatasetReport:
    """Findings and counts of one data set, or of several (``parts``).

    Attributes:
        path: what was checked.
        kind: ``classify``, ``segment`` or ``folder`` (of several data sets).
        rows: CSV rows or list lines.
        labels: samples of each label (classify) or mask value (segment).
        sizes: images of each ``"WIDTHxHEIGHT"``.
        extensions: images of each file extension.
        images: distinct image files that are referred to.
        missing, unreadable, hidden, duplicates, unused: counts of files or rows.
        splits: rows of each split (segment).
        parts: reports of the data sets in a folder of several, by name.
        sampled: of what only a part was looked at, and how much.
        unpaired: counts and first names of files without their partner (segment).
        shifts: measured pairs, the farthest apart first.
        twins: test pictures of the same bytes; ``leaks``: trained and held-out pair, and how they are alike.
        samples: every pair whose files exist; ``digests``: `Probe.digest` of the readable test pictures among them.
    """

    path: Path
    kind: Literal["classify", "segment", "folder"]
    rows: int = 0
    images: int = 0
    missing: int = 0
    unreadable: int = 0
    hidden: int = 0
    duplicates: int = 0
    unused: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    extensions: Counter[str] = field(default_factory=Counter)
    splits: dict[str, int] = field(default_factory=dict)
    parts: dict[str, DatasetReport] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    sampled: dict[str, str] = field(default_factory=dict)
    unpaired: dict[str, Unpaired] = field(default_factory=dict)
    shifts: list[Shift] = field(default_factory=list, repr=False)
    twins: list[tuple[Path, Path]] = field(default_factory=list, repr=False)
    leaks: list[tuple[Sample, Sample, str]] = field(default_factory=list, repr=False)
    samples: list[Sample] = field(default_factory=list, repr=False)
    digests: dict[Path, bytes] = field(default_factory=dict, repr=False)
    _findings: list[Finding] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """Up to `DETAILS_PER_CODE` findings of each code, errors first, parts included."""
        found = [*self._findings, *(f for part in self.parts.values() for f in part.findings)]
        return sorted(found, key=lambda finding: finding.severity != "error")

    @property
    def totals(self) -> Counter[str]:
        """How often each code was found, details kept or not, parts included."""
        return sum((part.totals for part in self.parts.values()), Counter(self.counts))

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return not any(finding.severity == "error" for finding in self.findings)

    def error(self, code: str, message: str, *, file: Path | str = "", line: int | None = None, fix: str = "") -> None:
        """Record an error."""
        self._add(Finding(code, "error", message, str(file), line, fix))

    def warn(self, code: str, message: str, *, file: Path | str = "", line: int | None = None, fix: str = "") -> None:
        """Record a warning."""
        self._add(Finding(code, "warning", message, str(file), line, fix))

    def _add(self, finding: Finding) -> None:
        self.counts[finding.code] += 1
        if self.counts[finding.code] <= DETAILS_PER_CODE:
            self._findings.append(finding)

    def raise_first(self) -> None:
        """Raise the first error, if there is one.

        Raises:
            DataError: with the finding's code, place and fix, and how many more there are.
        """
        errors = [finding for finding in self.findings if finding.severity == "error"]
        if not errors:
            return
        first, total = errors[0], sum(n for code, n in self.totals.items() if code.startswith("E_"))
        more = f" ({total - 1} more: skillrun data check)" if total > 1 else ""
        raise DataError(first.code, first.message + more, first.fix)

    def to_json(self) -> dict[str, Any]:
        """The whole report as plain values."""
        return {
            "schema_version": 1,
            "path": str(self.path),
            "kind": self.kind,
            "ok": self.ok,
            "rows": self.rows,
            "labels": dict(sorted(self.labels.items())),
            "splits": self.splits,
            "images": {
                "files": self.images,
                "missing": self.missing,
                "unreadable": self.unreadable,
                "hidden": self.hidden,
                "unused": self.unused,
                "sizes": dict(self.sizes.most_common(20)),
                "extensions": dict(self.extensions.most_common()),
            },
            "duplicates": self.duplicates,
            "twins": len(self.twins),
            "leaks": len(self.leaks),
            "sampled": self.sampled,
            "unpaired": {name: {"count": one.count, "names": one.names} for name, one in self.unpaired.items()},
            "shifts": [
                {"test": str(one.sample.test), "golden": str(one.sample.golden), "dx": one.dx, "dy": one.dy}
                for one in self.shifts[:WORST_SHIFTS]
            ],
            "totals": dict(sorted(self.totals.items())),
            "findings": [finding.to_json() for finding in self.findings],
            "parts": {name: part.to_json() for name, part in self.parts.items()},
        }

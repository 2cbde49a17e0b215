"""The texts of the catalogue (``codes/*.yaml``, one file a family), joined with what the sources raise.

Severity and exit codes are not written in the texts: ``skillrun bank generate`` reads them from the sources into
``raised.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from skillrun.bank import load_yaml
from skillrun.errors import GateError, RunFailedError
from skillrun.findings import Severity
from skillrun.runfolder import read_json

CODES = Path(__file__).parent / "codes"
RAISED = Path(__file__).parent / "raised.json"
PAGE = "docs/errors.md"


@dataclass(frozen=True)
class Entry:
    """One code.

    Attributes:
        code: ``E_…`` or ``W_…``.
        family: stem of the file that its text is in.
        title: one line without a full stop.
        cause: why it happens; one to three sentences.
        mend: what to do; commands stand in backticks.
        raised: exit codes by the command that ends with them (``skillrun``, the model's own command); a warning
            has none.
    """

    code: str
    family: str
    title: str
    cause: str
    mend: str
    raised: dict[str, list[int]]

    @property
    def severity(self) -> Severity:
        """A warning lets a command go on."""
        return "warning" if self.code.startswith("W_") else "error"

    @property
    def exit_codes(self) -> list[int]:
        """How ``skillrun`` ends: what only the model's command raises ends a run, and the runner tells that."""
        own = self.raised.get("skillrun", [])
        runs = [item for name, found in self.raised.items() if name != "skillrun" for item in found]
        ended = {GateError.exit_code if item == GateError.exit_code else RunFailedError.exit_code for item in runs}
        return sorted({*own, *ended})

    @property
    def anchor(self) -> str:
        """Where the generated page tells of it."""
        return f"{PAGE}#{self.code.lower()}"

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        told = {"code": self.code, "family": self.family, "severity": self.severity, "exit_codes": self.exit_codes}
        return {**told, "title": self.title, "cause": self.cause, "mend": self.mend, "page": self.anchor}


@dataclass(frozen=True)
class Family:
    """Codes that belong together.

    Attributes:
        name: stem of the file.
        title: what they are about.
        codes: code -> entry, in alphabetical order.
    """

    name: str
    title: str
    codes: dict[str, Entry]


@cache
def families() -> tuple[Family, ...]:
    """All families by name."""
    return read_families(CODES, read_json(RAISED) or {})


def read_families(folder: Path, raised: Mapping[str, Any]) -> tuple[Family, ...]:
    """Families of a folder of texts, with exit codes as in ``raised.json``."""
    return tuple(_family(path, raised) for path in sorted(folder.glob("*.yaml")))


def entries() -> dict[str, Entry]:
    """All entries by code."""
    return {code: entry for family in families() for code, entry in family.codes.items()}


def _family(path: Path, raised: Mapping[str, Any]) -> Family:
    texts = load_yaml(path)
    codes = {code: Entry(code, path.stem, **text, raised=raised.get(code, {})) for code, text in texts["codes"].items()}
    return Family(path.stem, texts["title"], dict(sorted(codes.items())))

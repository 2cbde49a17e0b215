"""The last look before a launch: errors refuse it, warnings are said, waived findings are said and let through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from skillrun.errors import DataError, PreflightError, SkillrunError, UsageError
from skillrun.findings import Finding
from skillrun.plan import Plan
from skillrun.preflight.data import data_reports, raise_first
from skillrun.preflight.devices import check_devices
from skillrun.preflight.facts import measure
from skillrun.preflight.registry import known
from skillrun.preflight.rule import Case, Room, look
from skillrun.preflight.weights import check_weights

_CLASSES: dict[Room, type[SkillrunError]] = {
    "spec": UsageError,
    "resume": UsageError,
    "data": DataError,
    "host": PreflightError,
}


def require_passed(plan: Plan, *, here: bool, say: Callable[[str], None], data_seen: bool = False) -> None:
    """Run the rules over a plan, and over its weights and data where this host has them.

    Args:
        here: whether the run sees the files of this host.
        say: gets one line for each code that does not refuse.
        data_seen: leave the data sets out.

    Raises:
        UsageError, PreflightError, DataError: the first error that is not waived; nothing was said then. Also what
        `check_devices` raises.
    """
    check_devices(plan)
    case = Case.of(plan, measure(plan) if here else None)
    found = look(case)
    _refuse(found, plan.waived)
    if here:
        check_weights(case.spec, plan.action)
        for report in () if data_seen else data_reports(case.spec, plan.action):
            raise_first(report, plan.waived)
            found += report.findings
    for line in notes(found, plan.waived):
        say(line)


def _refuse(found: Sequence[Finding], waived: Sequence[str]) -> None:
    errors = [one for one in found if one.severity == "error" and one.code not in waived]
    if errors:
        first, more = errors[0], len(errors) - 1
        told = f" ({more} more: --check shows all)" if more else ""
        raise _CLASSES[known()[first.code].room](first.code, first.message + told, first.fix)


def notes(found: Sequence[Finding], waived: Sequence[str]) -> Iterator[str]:
    """One line for each code: the first finding, and how many more there are."""
    counts = Counter(one.code for one in found)
    for code, count in counts.items():
        first = next(one for one in found if one.code == code)
        word = "waived" if code in waived else "note"
        more = f" ({count - 1} more)" if count > 1 else ""
        fix = f"; {first.fix}" if first.fix and code not in waived else ""
        yield f"{word}: {code} {first.message}{more}{fix}"

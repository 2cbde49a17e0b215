"""A rule of the preflight: a small function with a code, a title and a place in the documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from skillrun.findings import Finding, Severity
from skillrun.overrides import get_dotted
from skillrun.specfile import parse_spec

if TYPE_CHECKING:
    from skillrun.plan import Plan
    from skillrun.preflight.facts import Host

Room = Literal["spec", "resume", "data", "host"]
# The exit code of an error, and which one counts where there are errors of several rooms: the first.
EXIT_CODES: Mapping[Room, int] = {"spec": 2, "resume": 2, "data": 7, "host": 3}
PAGE = "docs/preflight.md"


@dataclass(frozen=True)
class Rule:
    """What can be said of a rule without running it.

    Attributes:
        code: of its findings; ``E_…`` refuses the launch, ``W_…`` is said.
        room: what is looked at: ``spec``, ``resume``, ``data`` or ``host``.
        title: one line, what is wrong.
        waivable: False where the run could only fail, or would read or write where it must not.
        safe: its fix is an override that takes nothing from what was asked for, so ``--fix`` may apply it.
    """

    code: str
    room: Room
    title: str
    waivable: bool = True
    safe: bool = False

    @property
    def severity(self) -> Severity:
        """By the first letter of the code."""
        return "error" if self.code.startswith("E_") else "warning"

    @property
    def anchor(self) -> str:
        """Where the documents say more."""
        return f"{PAGE}#{self.code.lower()}"


@dataclass(frozen=True)
class Case:
    """What the rules look at.

    Attributes:
        plan: the plan of the run; spec: its resolved spec, with paths of this host.
        host: what this host has; None where the run happens elsewhere.
    """

    plan: Plan
    spec: Mapping[str, Any]
    host: Host | None = None

    @classmethod
    def of(cls, plan: Plan, host: Host | None = None) -> Case:
        """The case of a plan."""
        return cls(plan, parse_spec(plan.spec_text).values, host)

    def get(self, key: str) -> Any:
        """The value of a dotted key, or None."""
        return get_dotted(self.spec, key)

    @property
    def section(self) -> str:
        """The action's own section of the spec: ``train``, ``evaluate``, …"""
        return self.plan.action.removeprefix("segment_").removeprefix("trt_")

    @property
    def data(self) -> str:
        """The section of the task's data set."""
        return f"dataset.{self.plan.task}"


@dataclass(frozen=True)
class Problem:
    """What a rule found: one sentence with key and value, an override or a command, and the file it is about."""

    message: str
    fix: str
    file: str = ""


Look = Callable[[Case], Iterator[Problem]]
_LOOKS: dict[str, tuple[Rule, Look]] = {}


def rule(code: str, room: Room, title: str, *, waivable: bool = True, safe: bool = False) -> Callable[[Look], Look]:
    """Register a function as the rule of a code."""

    def register(look: Look) -> Look:
        _LOOKS[code] = (Rule(code, room, title, waivable, safe), look)
        return look

    return register


def registered() -> list[Rule]:
    """The rules that are functions of this package, in the order of their modules."""
    return [found for found, _ in _LOOKS.values()]


def look(case: Case) -> list[Finding]:
    """Run every rule that applies; none stops the others."""
    found = []
    for one, function in _LOOKS.values():
        if one.room != "host" or case.host is not None:
            found += [Finding(one.code, one.severity, p.message, p.file, fix=p.fix) for p in function(case)]
    return found

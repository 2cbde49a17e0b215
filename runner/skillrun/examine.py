"""``--check`` and ``--fix``: everything that is wrong with a request, found without starting or writing anything."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from skillrun.backends import Backend, Talk, get_backend
from skillrun.delivery import check_delivery
from skillrun.errors import ConflictError, DataError, NotFoundError, SkillrunError, UsageError
from skillrun.findings import Finding
from skillrun.plan import Plan
from skillrun.preflight.data import data_reports, leak_report
from skillrun.preflight.devices import check_devices
from skillrun.preflight.facts import measure
from skillrun.preflight.registry import known
from skillrun.preflight.rule import EXIT_CODES, Case, Room, look
from skillrun.preflight.schema_rules import mended_findings
from skillrun.preflight.weights import check_weights
from skillrun.prepare import Prepared, Request, prepare
from skillrun.staging.backbone import KEY as BACKBONE

if TYPE_CHECKING:
    from skillrun.data.probe import Progress

_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=(?![A-Z]+$|<).*", re.DOTALL)
_STAGING = ("E_STAGE_", "E_HUB_", "E_REMOTE_")
ROUNDS = 20
Entry = tuple[Room, Finding]


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        entries: each finding with the room it belongs to, in the order of looking.
        plan: of the request, with errors mended in mind where their fix is an override; None where none can be made.
        waived: codes whose findings do not refuse.
    """

    entries: tuple[Entry, ...]
    plan: Plan | None
    waived: tuple[str, ...] = ()

    @property
    def findings(self) -> list[Finding]:
        """Errors first."""
        return sorted((finding for _, finding in self.entries), key=lambda finding: finding.severity != "error")

    @property
    def exit_code(self) -> int:
        """0, or that of the errors that are not waived: 2 spec, 7 data, 3 host; the first of these counts."""
        refused = {
            room for room, finding in self.entries if finding.severity == "error" and finding.code not in self.waived
        }
        return next((code for room, code in EXIT_CODES.items() if room in refused), 0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "ok": not self.exit_code,
            "exit_code": self.exit_code,
            "complete": self.plan is not None,
            "waived": list(self.waived),
            "findings": [
                {**one.to_json(), "room": room, "waived": one.code in self.waived} for room, one in self.entries
            ],
        }


def examine(request: Request, talk: Talk | None = None, progress: Progress | None = None) -> Examination:
    """Look at spec, resume, data and host of a request, and collect all that is wrong.

    An error that keeps the plan from being made is mended in mind, where its fix is an override or it quotes one that
    can be left out, and the rest is looked at as if it had been.

    Args:
        progress: called with (images done, images in all) of each data set.

    Raises:
        UsageError: a code of ``waive`` is unknown or can not be waived.
    """
    prepared, entries = _prepared(request, talk)
    if prepared is None:
        return Examination(tuple(entries), None)
    entries += [("spec", finding) for finding in mended_findings(prepared.builder, prepared.spec)]
    entries += plan_entries(prepared.plan, progress)
    return Examination(tuple(entries), prepared.plan, prepared.plan.waived)


def _prepared(request: Request, talk: Talk | None) -> tuple[Prepared | None, list[Entry]]:
    entries: list[Entry] = []
    for _ in range(ROUNDS):
        try:
            return prepare(request, talk), entries
        except SkillrunError as error:
            if error.code.startswith("E_WAIVE_"):
                raise
            entry = _entry(error)
            more = overrides_in(error.fix) or ((f"{BACKBONE}=",) if error.code.startswith(_STAGING) else ())
            if entry in entries:
                return None, entries
            entries.append(entry)
            faulty = _faulty(request.overrides, entry[1].message)
            if not more and not faulty:
                return None, entries
            kept = [text for text in request.overrides if text not in faulty]
            request = replace(request, overrides=(*kept, *more))
    return None, entries


def _faulty(overrides: Sequence[str], message: str) -> list[str]:
    """The overrides that an error quotes: left out, they let the rest be looked at."""
    return [
        text
        for text in overrides
        if f"argument {text!r}" in message or f"unknown key {text.partition('=')[0]!r}" in message
    ]


def plan_entries(plan: Plan, progress: Progress | None = None) -> Iterator[Entry]:
    """All findings about a plan."""
    backend = get_backend(plan.backend)
    readiness = list(_collected(lambda: backend.require_ready(plan)))
    here = not readiness and backend.local_files
    case = Case.of(plan, measure(plan) if here or plan.backend == "local" else None)
    yield from ((known()[finding.code].room, finding) for finding in look(case))
    yield from readiness
    yield from _collected(lambda: check_delivery(plan))
    if not readiness:
        yield from _gpu_entries(plan, backend)
    if plan.backend != "local" and not here:
        return
    if not plan.weights or case.get(BACKBONE) != plan.weights["path"]:  # what is fetched was checked by its hash
        yield from _collected(lambda: check_weights(case.spec, plan.action))
    reports = list(data_reports(case.spec, plan.action, progress))
    if case.section == "train" and all(report.ok for report in reports):
        reports.append(leak_report(reports))
    for report in reports:
        yield from (("data", finding) for finding in report.findings)


def _gpu_entries(plan: Plan, backend: Backend) -> Iterator[Entry]:
    """Whether the GPUs are there and free, by taking and releasing them; a launch that waits is only warned."""
    from skillrun import gpus

    asked = gpus.parse_request(plan.gpus)
    if asked.kind == "none" or not backend.local_files or (backend.name == "local" and asked.kind == "auto"):
        return

    def take() -> None:
        check_devices(plan)
        gpus.reserve(asked, wanted=plan.gpu_count, say=lambda text: None).release()

    for room, finding in _collected(take):
        busy = finding.code == "E_GPU_BUSY" and plan.wait_gpu_s > 0
        yield room, replace(finding, severity="warning") if busy else finding


def _collected(look_at: Callable[[], object]) -> Iterator[Entry]:
    try:
        look_at()
    except SkillrunError as error:
        yield _entry(error)


def _entry(error: SkillrunError) -> Entry:
    """An error as a finding, and its room."""
    message = "; ".join([error.message, *error.details])
    finding = Finding(error.code, "error", message, fix=error.fix)
    if error.code in known():
        return known()[error.code].room, finding
    if isinstance(error, DataError):
        return "data", finding
    return "spec" if isinstance(error, UsageError | NotFoundError | ConflictError) else "host", finding


def overrides_in(fix: str) -> tuple[str, ...]:
    """The overrides that a fix consists of; () where it is a command, words, or has a place to fill in."""
    try:
        words = shlex.split(fix)
    except ValueError:
        return ()
    return tuple(words) if all(_OVERRIDE.fullmatch(word) for word in words) else ()


def mend(
    request: Request, talk: Talk | None = None, progress: Progress | None = None
) -> tuple[Request, list[str], Examination]:
    """Apply the fixes that are safe: overrides that take nothing from what was asked for.

    Returns:
        The request with them, a sentence for each, and what is left to find.
    """
    said: list[str] = []
    while True:
        found = examine(request, talk, progress)
        added = [
            (finding.code, override)
            for _, finding in found.entries
            if finding.code in known() and known()[finding.code].safe and finding.code not in found.waived
            for override in overrides_in(finding.fix)
            if override not in request.overrides
        ]
        if not added:
            return request, said, found
        said += [f"{override}  ({code})" for code, override in dict.fromkeys(added)]
        request = replace(request, overrides=(*request.overrides, *dict.fromkeys(text for _, text in added)))

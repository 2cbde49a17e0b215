"""Tools that look before anything is started: at a data set, a parent, the host."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field

from skillrun.agent.planning import Problem
from skillrun.agent.results import Reference
from skillrun.agent.tool import Answer, Given, cut

FINDINGS = 8
CANDIDATES = 8
PARTS = 8


class DataGiven(Given):
    paths: list[str] = Field(min_length=1, description="Data set folders, or one that holds train/ and eval/.")
    num_classes: int = Field(2, ge=2, le=255, description="Classes of segment masks, 2-255.")
    label_transform: Literal["norm", "None"] = Field("norm", description="norm: masks of 0 and 255; None: indices.")


class Part(Answer):
    name: str
    rows: int
    labels: dict[str, int]


class DataAnswer(Answer):
    ok: bool
    kind: str
    rows: int
    images: int
    labels: dict[str, int]
    parts: list[Part]
    totals: dict[str, int]
    findings: list[Problem]


def check_data(given: DataGiven, _root: Path) -> DataAnswer:
    """Checks data sets: rows, labels, images, broken files, leaks between train and eval. totals counts every code,
    findings holds the first ones with their fix."""
    from skillrun.data.check import check_dataset, mask_rule

    report = check_dataset(
        [Path(path) for path in given.paths], masks=mask_rule(given.num_classes, given.label_transform)
    )
    found = [
        Problem(code=item.code, severity=item.severity, message=cut(item.message), fix=cut(item.fix))
        for item in report.findings[:FINDINGS]
    ]
    return DataAnswer(
        ok=report.ok,
        kind=report.kind,
        rows=report.rows,
        images=report.images,
        labels=_most(report.labels),
        parts=[
            Part(name=name, rows=part.rows, labels=_most(part.labels))
            for name, part in list(report.parts.items())[:PARTS]
        ],
        totals=dict(sorted(report.totals.items())),
        findings=found,
    )


def _most(labels: Counter[str]) -> dict[str, int]:
    return dict(labels.most_common(12))


class ParentGiven(Given):
    run: str = Reference
    pick: str = Field("best", description="best, last, epoch=N (from 0) or step=N.")


class Checkpoint(Answer):
    file: str
    epoch: int | None = None
    step: int | None = None
    best: bool
    last: bool


class ParentAnswer(Answer):
    parent: str
    action: str
    task: str
    checkpoint: str | None = None
    reason: str | None = None
    candidates: list[Checkpoint]
    candidates_in_all: int
    onnx: list[str]
    engines: list[str]
    problem: Problem | None = None


def resolve_parent(given: ParentGiven, root: Path) -> ParentAnswer:
    """Which checkpoint a run would take from another run or folder, why, and what else there is to pick."""
    from skillrun.lineage import explain, find_parent

    found = explain(find_parent(given.run, root), given.pick)
    problem, last = found.problem, found.candidates[-CANDIDATES:]
    return ParentAnswer(
        parent=found.parent.name,
        action=found.parent.action,
        task=found.parent.task,
        checkpoint=str(found.chosen.path) if found.chosen else None,
        reason=found.chosen.reason if found.chosen else None,
        candidates=[
            Checkpoint(file=str(one.path), epoch=one.epoch, step=one.step, best=one.best, last=one.last) for one in last
        ],
        candidates_in_all=len(found.candidates),
        onnx=[str(path) for path in found.onnx[:CANDIDATES]],
        engines=[str(path) for path in found.engines[:CANDIDATES]],
        problem=Problem(code=problem.code, severity="error", message=cut(problem.message), fix=cut(problem.fix))
        if problem
        else None,
    )


class HostGiven(Given):
    pass


class HostCheck(Answer):
    name: str
    status: str
    message: str
    fix: str


class HostAnswer(Answer):
    ok: bool
    summary: str
    checks: list[HostCheck]


def check_host(given: HostGiven, root: Path) -> HostAnswer:
    """Looks at this host (Python, disk, Docker, GPUs): where a run can start, and what is missing with its fix."""
    from skillrun.doctor import checks, failed

    found = list(checks(root))
    count = Counter(check.status for check in found)
    told = [check for check in found if check.status != "ok" or check.name == "runs"]
    return HostAnswer(
        ok=not failed(found),
        summary=f"{count['ok']} ok, {count['warn']} to look at, {count['fail']} in the way",
        checks=[
            HostCheck(name=check.name, status=check.status, message=cut(check.message), fix=cut(check.fix))
            for check in told
        ],
    )

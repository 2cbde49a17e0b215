"""Tools that say what would run, and that start it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from skillrun.agent.jobs import Call
from skillrun.agent.reading import MODEL
from skillrun.agent.tool import Answer, Given, cut
from skillrun.errors import ConflictError
from skillrun.runfolder import RunFolder, read_json, write_atomic

if TYPE_CHECKING:
    from skillrun.plan import Plan
    from skillrun.prepare import Request

LAUNCH = "skillrun_launch_run"
FINDINGS = 8
CHANGED = 20


class PlanGiven(Given):
    action: str = Field(description="train, evaluate, inference, export, quantize, gen_trt_engine, ...")
    task: Literal["classify", "segment"] | None = Field(None, description="null: that of the parent, else classify.")
    overrides: list[str] = Field([], description="Spec values as key=value, e.g. num_epochs=5.")
    spec_file: str = Field("", description="Spec file; overrides win.")
    train_data: str = Field("", description="Data set folder or URL to train on.")
    eval_data: str = Field("", description="To measure on.")
    infer_data: str = Field("", description="To score.")
    calibration_data: str = Field("", description="To calibrate with.")
    parent: str = Field("", description="Run to take the model from: id, folder or last.")
    resume: str = Field("", description="Training or search to go on with.")
    pick: str = Field("", description="Checkpoint: best, last, epoch=N or step=N.")
    backend: Literal["auto", "local", "docker"] = "auto"
    gpus: str = Field("auto", description="auto, none, all, a count or ids (0,1).")
    results: str = Field("", description="Folder or URL for the results.")
    waive: list[str] = Field([], description="Codes of findings to accept.")
    search: str = Field("", description="With train: a search (AutoML) by '20 trials' or for '30m' in its place.")
    ranges: list[str] = Field([], description="Of a search: key=LOW..HIGH, or with :log; empty: the usual.")
    test_data: str = Field("", description="Of a search: data that it does not see, to compare on.")

    def request(self, root: Path) -> Request:
        """What the runner is asked for; a training is one run, never a search."""
        from skillrun.datasets import DataSources
        from skillrun.hostoptions import HostOptions
        from skillrun.prepare import Request

        return Request(
            MODEL,
            self.action,
            task=self.task or "",
            overrides=tuple(self.overrides),
            spec_file=Path(self.spec_file) if self.spec_file else None,
            sources=DataSources(self.train_data, self.eval_data, self.infer_data, self.calibration_data),
            parent=self.parent,
            resume=self.resume,
            pick=self.pick,
            automl=False if self.action.replace("-", "_").endswith("train") else None,
            backend=self.backend,
            host=HostOptions(self.gpus),
            results=self.results,
            workspace=root,
            waive=tuple(self.waive),
        )


class Problem(Answer):
    code: str
    severity: str
    message: str
    fix: str
    waived: bool | None = None


class PlanAnswer(Answer):
    ok: bool
    plan_hash: str | None = None
    action: str | None = None
    backend: str | None = None
    gpus: str | None = None
    results_dir: str | None = None
    checkpoint: str | None = None
    why_checkpoint: str | None = None
    set: dict[str, Any] | None = None
    notices: list[str] | None = None
    review: list[str] | None = None
    errors: int
    warnings: int
    findings: list[Problem]


def plan_run(given: PlanGiven, root: Path) -> PlanAnswer:
    """Checks spec, data and host of a run or search and says what would happen; starts and writes nothing. ok=false:
    mend the errors by their fix (a fix key=value goes into overrides, a flag --train-data X is the field train_data).
    Fields as for skillrun_launch_run, which can demand plan_hash."""
    from skillrun.agent import studies
    from skillrun.examine import examine

    found = examine(given.request(root))
    shown = found.to_json()["findings"]
    errors = sum(item["severity"] == "error" for item in shown)
    worst = sorted(shown, key=lambda item: str(item["severity"]))[:FINDINGS]
    problems = [
        Problem(
            code=item["code"],
            severity=item["severity"],
            message=cut(item["message"]),
            fix=cut(item["fix"]),
            waived=item["waived"] or None,
        )
        for item in worst
    ]
    told = {} if found.plan is None else _of_plan(found.plan)
    clear = found.exit_code == 0 and found.plan is not None
    if clear and given.search:
        settings = studies.design(given, root)
        place = str(root / "studies")  # each trial has a folder of its own there
        told |= {"plan_hash": studies.plan_hash(settings), "results_dir": place, "review": studies.review(settings)}
    if not clear:
        told.pop("plan_hash", None)  # a plan whose errors were mended in mind is not that of these arguments
    return PlanAnswer(ok=clear, errors=errors, warnings=len(shown) - errors, findings=problems, **told)


def _of_plan(plan: Plan) -> dict[str, Any]:
    parent = plan.parent or {}
    return {
        "plan_hash": plan.plan_hash,
        "action": plan.action,
        "backend": plan.backend,
        "gpus": plan.gpus,
        "results_dir": plan.results_dir,
        "checkpoint": parent.get("checkpoint"),
        "why_checkpoint": cut(parent["reason"]) if parent else None,
        "set": _set(plan),
        "notices": [cut(notice) for notice in plan.notices[:FINDINGS]],
    }


def _set(plan: Plan) -> dict[str, Any]:
    """The first values of the spec that are not those of the template."""
    from skillrun import bank
    from skillrun.overrides import flatten
    from skillrun.specfile import parse_spec

    keys = bank.keys(plan.model, plan.action)
    usual = flatten(bank.defaults(plan.model, plan.action), keys)
    values = flatten(parse_spec(plan.spec_text).values, keys)
    changed = {key: value for key, value in values.items() if value != usual.get(key)}
    return {key: cut(value) if isinstance(value, str) else value for key, value in list(changed.items())[:CHANGED]}


class LaunchGiven(PlanGiven):
    key: str = Field(min_length=1, max_length=200, description="Your name for this launch; repeated, the same run.")
    plan_hash: str = Field("", description="Start only the plan that skillrun_plan_run told.")


class LaunchAnswer(Answer):
    run_id: str
    run_dir: str
    action: str
    backend: str
    plan_hash: str
    notices: list[str]


def launch_run(given: LaunchGiven, root: Path) -> LaunchAnswer:
    """Starts a run, or a search, and returns its run_id at once; it goes on by itself. Then
    skillrun_wait_run. The same key always gives the same run, so a call may be repeated."""
    from skillrun.agent import studies
    from skillrun.launch import launch
    from skillrun.prepare import prepare

    if study := studies.stopped(given.resume, root):
        return studies.go_on(study)
    if given.search:
        return studies.launch(given, root, launch_folder(root, given.key) / "study.json")
    note = launch_folder(root, given.key) / "run.json"
    if earlier := _started(note):
        return earlier
    plan = prepare(given.request(root)).plan
    demand(given, plan.action, plan.plan_hash)
    write_atomic(note, json.dumps({"run_dir": plan.run_dir}))
    launch(plan)
    return _answer(plan)


def demand(given: LaunchGiven, action: str, plan_hash: str) -> None:
    """Only what was approved may start. Raises ConflictError."""
    if given.plan_hash and plan_hash != given.plan_hash:
        raise ConflictError(
            "E_PLAN_CHANGED",
            f"the plan of {action} is now {plan_hash[:12]}…, not {given.plan_hash[:12]}…",
            "skillrun_plan_run with the same fields; launch with the plan_hash that was looked at",
        )


def launch_folder(root: Path, key: str) -> Path:
    """Where the job of a launch lies, for a key."""
    return Call(LAUNCH, {}, root, key).folder


def _started(note: Path) -> LaunchAnswer | None:
    """The run of an attempt that was killed after the start of the run, before it could tell."""
    from skillrun.plan import Plan
    from skillrun.watch import status

    told = read_json(note)
    run = RunFolder(Path(told["run_dir"])) if told else None
    if run is None or not run.record.is_file() or status(run).state == "planned":
        return None
    return _answer(Plan.load(run.plan))


def _answer(plan: Plan) -> LaunchAnswer:
    return LaunchAnswer(
        run_id=plan.run_id,
        run_dir=plan.run_dir,
        action=plan.action,
        backend=plan.backend,
        plan_hash=plan.plan_hash,
        notices=[cut(notice) for notice in plan.notices[:FINDINGS]],
    )

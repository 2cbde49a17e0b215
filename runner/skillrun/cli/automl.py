"""``skillrun automl``: studies of searches: go on, extend, look, take the best; and the search behind ``train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skillrun.cli.options import Json, Workspace, Yes
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.automl.ledger import Row
    from skillrun.automl.result import StudyResult
    from skillrun.automl.settings import SearchOptions, Settings
    from skillrun.automl.study import StudyFolder
    from skillrun.prepare import Request

app = typer.Typer(help="Searches (AutoML): list, follow, go on with, extend and export studies.", no_args_is_help=True)

StudyReference = Annotated[
    str, typer.Argument(metavar="STUDY", help="Study id, unique beginning of one, study folder, or 'last'.")
]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for the study.")]
Trials = Annotated[int, typer.Option("--trials", min=0, help="How many trials (more).")]
TotalEpochs = Annotated[int, typer.Option("--total-epochs", min=0, help="Epochs over all trials (more).")]
TimeLimit = Annotated[str, typer.Option("--time", metavar="TIME", help="Wall time (more), e.g. 30m.")]
_SHOWN_TRIALS = 10


def search(
    request: Request, options: SearchOptions, output: Output, *, dry_run: bool, yes: bool, detached: bool
) -> None:
    """What ``train`` does where AutoML is on: review, ask on a terminal, search, show the result."""
    from skillrun.automl.design import design
    from skillrun.automl.review import review
    from skillrun.automl.search import create, slots_of
    from skillrun.cli.launch_talk import LaunchTalk

    with LaunchTalk(output) as talk:
        settings = design(request, options, talk)
    lines = review(settings, slots_of(settings))
    if dry_run:
        shown = ["would search (nothing was started)", *lines]
        output.data({"study": settings.to_json(), "review": lines}, "\n".join(shown))
        return
    for line in lines:
        output.say(line)
    if sys.stdin.isatty() and sys.stderr.isatty() and not yes:
        typer.confirm("Start the search?", default=True, abort=True, err=True)
    _go(create(settings), output, detached=detached)


def _go(folder: StudyFolder, output: Output, *, detached: bool) -> None:
    from skillrun.automl.search import detach, drive
    from skillrun.cli.launch_talk import LaunchTalk

    if detached:
        pid = detach(folder)
        answer = {"study_id": folder.study_id, "study_dir": str(folder.path), "driver_pid": pid}
        output.data(answer, folder.study_id)
        output.hint(f"skillrun automl status {folder.study_id}")
        return
    output.say(f"study {folder.study_id} in {folder.path}")
    with LaunchTalk(output) as talk:
        result = drive(folder, output, talk)
    say_result(result, output)


@app.command("list")
def list_(json: Json = False, workspace: Workspace = None) -> None:
    """Studies of this workspace, newest first."""
    from skillrun.automl.study import list_studies
    from skillrun.runfolder import workspace as resolve

    rows = [_listed(folder) for folder in list_studies(resolve(workspace))]
    Output(json).table("studies", ("study", "state", "action", "created", "result"), rows, "no studies here yet")


def _listed(folder: StudyFolder) -> tuple[str, ...]:
    from skillrun.errors import SkillrunError

    try:
        settings = folder.settings()
    except SkillrunError as error:
        return folder.study_id, "unreadable", "", "", error.message
    result = folder.read_result() or {}
    told = f"{settings.metric} {result['best']['value']:.4g}" if result.get("best") else ""
    why = str((result.get("error") or {}).get("message", ""))
    return folder.study_id, _state(folder), settings.action, settings.created, told or why


@app.command()
def status(study: StudyReference, json: Json = False, workspace: Workspace = None) -> None:
    """How far a study is: its trials and the best so far."""
    from skillrun.automl.ledger import best_row

    folder, settings, rows = _open(study, workspace)
    best = best_row(rows, settings.better)
    counts = {state: sum(row.state == state for row in rows) for state in dict.fromkeys(row.state for row in rows)}
    words = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no trial yet"
    lines = [f"{folder.study_id}  {_state(folder)}  {words}  (budget {settings.budget.text()})"]
    lines += _trial_lines(settings, rows, best)
    answer = {"study_id": folder.study_id, "state": _state(folder), "trials": [row.to_json() for row in rows]}
    Output(json).data({**answer, "best": best.to_json() if best else None}, "\n".join(lines))
    if not json and _state(folder) == "interrupted":
        Output(json).hint(f"skillrun automl resume {folder.study_id}")


@app.command()
def resume(study: StudyReference, json: Json = False, workspace: Workspace = None, yes: Yes = False) -> None:
    """Drive a study on: running trials are taken over, lost ones go on from their checkpoints."""
    from skillrun.automl.study import find_study
    from skillrun.runfolder import workspace as resolve

    _go(find_study(study, resolve(workspace)), Output(json), detached=False)


@app.command()
def extend(
    study: StudyReference,
    trials: Trials = 0,
    total_epochs: TotalEpochs = 0,
    time: TimeLimit = "",
    detach: Detach = False,
    json: Json = False,
    workspace: Workspace = None,
) -> None:
    """Give a study more to spend, and drive it on; earlier trials count."""
    from skillrun.automl.design import extended
    from skillrun.automl.study import find_study
    from skillrun.runfolder import workspace as resolve

    folder, output = find_study(study, resolve(workspace)), Output(json)
    with folder.driving():
        settings = extended(folder.settings(), trials, total_epochs, time)
        folder.save(settings)
    output.say(f"budget now {settings.budget.text()}")
    _go(folder, output, detached=detach)


@app.command()
def best(study: StudyReference, json: Json = False, workspace: Workspace = None) -> None:
    """The best trial: run, checkpoint and values."""
    from skillrun.automl.ledger import best_row
    from skillrun.automl.retention import verified
    from skillrun.errors import NotFoundError

    folder, settings, rows = _open(study, workspace)
    found = best_row(rows, settings.better)
    if found is None:
        raise NotFoundError(
            "E_AUTOML_NO_VALUE", f"{folder.study_id} has no trial with a value yet", f"skillrun automl status {study}"
        )
    winner, output = verified(folder, found.run_id), Output(json)
    lines = [f"trial {found.number} of {folder.study_id}: {settings.metric} {found.value:.6g}, run {found.run_id}"]
    lines += [f"checkpoint  {winner.path}", f"sha256      {winner.sha256}"]
    lines += _value_lines(found)
    answer = {"best": found.to_json(), "checkpoint": str(winner.path), "sha256": winner.sha256}
    output.data(answer, "\n".join(lines))
    if not json:
        output.hint(f"skillrun visual_changenet {settings.action.replace('train', 'evaluate')} --parent {folder.path}")


@app.command()
def export(
    study: StudyReference,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files.")],
    json: Json = False,
    workspace: Workspace = None,
) -> None:
    """Copy what a study gave: best checkpoint (verified), winning spec, result, table and page."""
    from skillrun.automl.export import export_study
    from skillrun.automl.study import find_study
    from skillrun.runfolder import workspace as resolve

    files = export_study(find_study(study, resolve(workspace)), out.expanduser().absolute())
    Output(json).data({"files": [str(path) for path in files]}, "\n".join(map(str, files)))


def _open(study: str, workspace: Path | None) -> tuple[StudyFolder, Settings, list[Row]]:
    from skillrun.automl.ledger import read_rows
    from skillrun.automl.study import find_study
    from skillrun.runfolder import workspace as resolve

    folder = find_study(study, resolve(workspace))
    settings = folder.settings()
    return folder, settings, read_rows(folder.journal, settings)


def _state(folder: StudyFolder) -> str:
    if folder.driver():
        return "running"
    result = folder.read_result()
    return "interrupted" if result is None else "failed" if result.get("status") == "failed" else "ended"


def _trial_lines(settings: Settings, rows: list[Row], top: Row | None) -> list[str]:
    """The last trials, and the best where it is not among them."""
    shown = rows[-_SHOWN_TRIALS:]
    if top is not None and top not in shown:
        shown = [top, *shown]
    lines = []
    for row in shown:
        value = f"{settings.metric} {row.value:.4g}" if row.value is not None else ""
        value += f"  {row.second:.1f} ms" if row.second is not None else ""
        mark = "best" if top is not None and row.number == top.number else ""
        parts = (f"trial {row.number:<4}", f"{row.state:<9}", f"{value:<22}", row.run_id, mark, row.reason)
        lines.append("  ".join(part for part in parts if part).rstrip())
    return lines


def say_result(result: StudyResult, output: Output) -> None:
    """The end of a study for a person, and the next command."""
    settings, best_ = result.settings, result.best
    lines = [f"{settings.study_id}: best is trial {best_.number} of {len(result.rows)}, run {best_.run_id}"]
    lines += [f"  {settings.metric:<24} {best_.value:.6g}{_against_first(result)}"]
    lines += _front_lines(result)
    lines += _comparison_lines(result)
    lines += _value_lines(best_)
    lines += [
        f"  checkpoint  {result.winner.path}",
        f"  sha256      {result.winner.sha256}",
        f"  spec        {result.folder.winner}",
        f"  trials      {result.folder.table}",
        f"  page        {result.folder.page}",
        f"  dashboard   optuna-dashboard {result.folder.journal}",
    ]
    if result.freed:
        lines.append(f"  removed     {result.freed / 1e6:.1f} MB of other trials' checkpoints (--keep-all keeps them)")
    output.data({"study": result.to_json()}, "\n".join(lines))
    action = settings.action.replace("train", "evaluate")
    output.hint(f"skillrun visual_changenet {action} --parent {settings.study_id}{_data_hint(settings)}")


def _value_lines(row: Row) -> list[str]:
    from skillrun.automl.param import show

    return [f"  {key}={show(value)}" for key, value in row.values.items()]


def _against_first(result: StudyResult) -> str:
    first: Any = result.first
    return f"   (trial 0: {first.value:.6g})" if first is not None and result.best.number != 0 else ""


def _front_lines(result: StudyResult) -> list[str]:
    """Where latency counts too: what else one may take."""
    found = result.front
    lines = ["  no other trial is better in both:"] if found else []
    return lines + [
        f"    trial {row.number:<4} {result.settings.metric} {row.value:.6g}  {row.second:.1f} ms  run {row.run_id}"
        for row in found
    ]


def _comparison_lines(result: StudyResult) -> list[str]:
    where = "held-out pairs" if result.held_out else "the pairs of the search, which favours the best"
    lines = [f"  on {where}:"] if result.evaluations else []
    for who, one in result.evaluations.items():
        value = f"{result.compared_by} {one.metrics[result.compared_by]:.6g}" if one.metrics else one.error
        lines.append(f"    {who:<10} {value}")
    return lines


def _data_hint(settings: Settings) -> str:
    import shlex

    data = settings.test_data or str(settings.request.sources.eval_dataset or "")
    return f" --eval-data {shlex.quote(data)}" if data else ""

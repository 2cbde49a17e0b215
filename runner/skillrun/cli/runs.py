"""``skillrun runs``: what ran, what runs, how it ended."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import asdict
from typing import Annotated

import typer

from skillrun.cli.options import Json, RunReference, Workspace, Yes
from skillrun.cli.output import Output

app = typer.Typer(help="List, show, follow, stop and remove runs.", no_args_is_help=True)

HEADLINE = (
    "average_precision",
    "test_iou_1",
    "test_miou",
    "test_acc",
    "val_ap",
    "val_iou_1",
    "val_miou",
    "val_loss",
    "train_loss",
)


@app.command("list")
def list_(json: Json = False, workspace: Workspace = None, limit: Annotated[int, typer.Option(min=1)] = 20) -> None:
    """Runs of this workspace, newest first."""
    from itertools import islice

    from skillrun.runfolder import list_runs
    from skillrun.runfolder import workspace as resolve
    from skillrun.watch import status

    rows = []
    for run in islice(list_runs(resolve(workspace)), limit):
        found = status(run)
        shown = [f"{name} {found.metrics[name]:.4g}" for name in HEADLINE if name in found.metrics]
        rows.append((found.run_id, found.state, found.action, found.created, "  ".join(shown[:2]) or found.reason))
    Output(json).table("runs", ("run", "state", "action", "created", "result"), rows, "no runs here yet")


@app.command()
def show(run: RunReference, json: Json = False, workspace: Workspace = None) -> None:
    """State, metrics and files of one run."""
    from skillrun.cli.outcome import artifact_lines
    from skillrun.runfolder import find_run, read_json
    from skillrun.runfolder import workspace as resolve
    from skillrun.watch import status

    folder = find_run(run, resolve(workspace))
    found, result = status(folder), read_json(folder.result) or {}
    lines = [f"{found.run_id}  {found.state}  {found.reason}".rstrip(), f"folder   {found.run_dir}"]
    lines += [f"{name:<28} {value:.6g}" for name, value in found.metrics.items() if isinstance(value, int | float)]
    for entry in result.get("checkpoints") or []:
        marks = " ".join(mark for mark in ("best", "last") if entry.get(mark))
        lines.append(f"checkpoint  {entry['path']}  {marks}".rstrip())
    lines += [f"{kind:<10}  {place}" for kind, place in artifact_lines(result.get("artifacts") or [])]
    answer = {
        "run": asdict(found),
        "checkpoints": result.get("checkpoints", []),
        "artifacts": result.get("artifacts", []),
    }
    Output(json).data(answer, "\n".join(lines))


@app.command()
def logs(
    run: RunReference,
    workspace: Workspace = None,
    json: Json = False,
    tail: Annotated[int, typer.Option(min=1, help="How many last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
) -> None:
    """The output of a run's command."""
    from skillrun.runfolder import find_run
    from skillrun.runfolder import workspace as resolve
    from skillrun.watch import status

    folder = find_run(run, resolve(workspace))
    output = Output(json)
    lines = _lines(folder.log)
    output.data({"run_id": folder.run_id, "lines": lines[-tail:], "total": len(lines)}, "\n".join(lines[-tail:]))
    while follow and not json:
        done = status(folder).done
        fresh = _lines(folder.log)
        if len(fresh) > len(lines):
            output.data({}, "\n".join(fresh[len(lines) :]))
            lines = fresh
        if done:
            return
        time.sleep(0.3)


def _lines(path: object) -> list[str]:
    from pathlib import Path

    try:
        return Path(str(path)).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


@app.command()
def attach(run: RunReference, json: Json = False, workspace: Workspace = None) -> None:
    """Follow a run until it ends. Ctrl-C detaches, twice stops it."""
    from skillrun.cli.attach import attach as follow_run
    from skillrun.cli.outcome import say_outcome
    from skillrun.runfolder import find_run
    from skillrun.runfolder import workspace as resolve

    folder = find_run(run, resolve(workspace))
    say_outcome(follow_run(folder, Output(json)), Output(json))


@app.command()
def upload(
    run: RunReference,
    url: Annotated[str, typer.Argument(metavar="[URL]", help="Where to (default: as the run was started with).")] = "",
    json: Json = False,
    workspace: Workspace = None,
) -> None:
    """Send an ended run's folder to a store; what is there already is not sent again."""
    from functools import partial

    from skillrun.cli.transfers import Transfers
    from skillrun.delivery import deliver
    from skillrun.errors import UsageError
    from skillrun.plan import Plan
    from skillrun.runfolder import find_run
    from skillrun.runfolder import workspace as resolve

    folder, output = find_run(run, resolve(workspace)), Output(json)
    url = url or Plan.load(folder.plan).upload_to
    if not url:
        raise UsageError(
            "E_REMOTE_URL",
            f"{folder.run_id} was started without an address for its results",
            f"skillrun runs upload {folder.run_id} s3://BUCKET/FOLDER",
        )
    with Transfers(output) as transfers:
        sent = deliver(folder, url, partial(transfers.show, "results"))
    for name in sent.left_out:
        output.say(f"left out: {name}, a link that leads out of the run")
    output.data({"uploaded": asdict(sent)}, f"{sent.url}  {sent.files} files, {sent.bytes / 1e6:.1f} MB")


@app.command()
def stop(run: RunReference, json: Json = False, workspace: Workspace = None) -> None:
    """Stop a run; it writes a checkpoint first. Stopping an ended run does nothing."""
    from skillrun.launch import stop as stop_run
    from skillrun.runfolder import find_run
    from skillrun.runfolder import workspace as resolve
    from skillrun.watch import status

    folder = find_run(run, resolve(workspace))
    stop_run(folder)
    found = status(folder)
    Output(json).data({"run": asdict(found)}, f"{found.run_id} {found.state}")


@app.command()
def resume(
    run: RunReference,
    json: Json = False,
    workspace: Workspace = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for the run.")] = False,
) -> None:
    """Go on with a training that was stopped, failed or lost, from its latest checkpoint."""
    from skillrun.cli.attach import attach as follow_run
    from skillrun.cli.launch_talk import LaunchTalk
    from skillrun.cli.outcome import say_outcome
    from skillrun.launch import resume as start_again
    from skillrun.runfolder import find_run
    from skillrun.runfolder import workspace as resolve
    from skillrun.watch import progress_file

    folder, output = find_run(run, resolve(workspace)), Output(json)
    told = progress_file(folder)
    seen = told.stat().st_size if told.is_file() else 0
    with LaunchTalk(output) as talk:
        start_again(folder, talk)
    output.say(f"run {folder.run_id} goes on in {folder.path}")
    if detach:
        output.data({"run_id": folder.run_id, "run_dir": str(folder.path), "state": "launched"}, folder.run_id)
        return output.hint(f"skillrun runs attach {folder.run_id}")
    return say_outcome(follow_run(folder, output, offset=seen), output)


@app.command()
def rm(run: RunReference, json: Json = False, workspace: Workspace = None, yes: Yes = False) -> None:
    """Remove a run for good: its folder, and what an engine still has of it. A running one must be stopped first."""
    from skillrun.backends import get_backend
    from skillrun.errors import ConflictError, NotFoundError
    from skillrun.runfolder import find_run
    from skillrun.runfolder import workspace as resolve
    from skillrun.watch import status

    try:
        folder = find_run(run, resolve(workspace))
    except NotFoundError as error:
        return _remove_orphan(run, error, Output(json), yes)
    if not status(folder).done:
        raise ConflictError("E_RUN_BUSY", f"{folder.run_id} still runs", f"skillrun runs stop {folder.run_id}")
    _confirm(f"{folder.path} and everything in it", folder.run_id, yes)
    get_backend(str(folder.read_record().get("backend", "local"))).forget(folder)
    shutil.rmtree(folder.path)
    return Output(json).data({"removed": folder.run_id}, f"removed {folder.run_id}")


def _remove_orphan(run_id: str, not_found: Exception, output: Output, yes: bool) -> None:
    """Remove the container of a run whose folder is gone; raises ``not_found`` where there is none either."""
    from skillrun import engine

    if not engine.reachable():
        raise not_found
    from skillrun.backends.docker import orphans
    from skillrun.backends.docker_end import remove

    found = orphans(run_id)
    if not found:
        raise not_found
    _confirm(f"{found[0].name}, {found[0].status}, whose run folder is gone", run_id, yes)
    for container in found:
        remove(container)
    output.data({"removed": run_id}, f"removed the container of {run_id}")


def _confirm(what: str, run_id: str, yes: bool) -> None:
    from skillrun.errors import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("E_CONFIRM", f"removing {what} needs a yes", f"skillrun runs rm {run_id} --yes")
    typer.confirm(f"Remove {what}?", abort=True, err=True)

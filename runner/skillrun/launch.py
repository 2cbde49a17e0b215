"""Starting a plan: run the preflight, make the run folder, call the backend. On an error nothing is left behind."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from skillrun.backends import Quiet, Talk, get_backend
from skillrun.delivery import check_delivery
from skillrun.errors import BackendError, ConflictError, SkillrunError, UsageError
from skillrun.plan import Plan
from skillrun.preflight import require_passed
from skillrun.runfolder import RunFolder, write_atomic
from skillrun.staging import Staged, bring
from skillrun.watch import status


def launch(plan: Plan, talk: Talk | None = None, *, data_seen: bool = False) -> RunFolder:
    """Check spec, host and data, make the run folder and start the run.

    Args:
        data_seen: the data was looked at for this very purpose, as for all trials of a study: not again.

    Raises:
        DataError: the data set can not be used; PreflightError: the host has no room for it; BackendError: the backend
        can not start it.
        UsageError: the spec can not work, or a search was asked for; `skillrun.automl.search.run_search` does that.
    """
    if plan.automl and plan.automl["state"] == "on":
        raise UsageError(
            "E_AUTOML_PLAN", "this is the plan of one training, but a search was asked for", "plan it with --no-automl"
        )
    talk = talk or Quiet()
    backend = get_backend(plan.backend)
    backend.require_ready(plan)
    check_delivery(plan)
    _bring_weights(plan, talk)
    require_passed(plan, here=backend.local_files, say=talk.say, data_seen=data_seen)
    settled = backend.settle(plan, talk)
    run = RunFolder(Path(plan.run_dir))
    try:
        _write(run, plan, owner=settled.user)
        run.write_record(devices=settled.gpus, handle=backend.launch(settled, talk))
    except OSError as error:
        _remove_unused(run)
        raise _cannot_write(run, error) from error
    except SkillrunError:
        _remove_unused(run)
        raise
    return run


def _bring_weights(plan: Plan, talk: Talk) -> None:
    if plan.weights:
        pinned = Staged(**{**plan.weights, "path": Path(plan.weights["path"])})
        bring(pinned, offline=plan.offline, show=partial(talk.fetched, "weights"))


def _write(run: RunFolder, plan: Plan, owner: str) -> None:
    """The run folder with everything that the run starts from, owned by the user who will own the results."""
    writable = [Path(mount.source) for mount in plan.mounts if not mount.read_only]
    made = [run.plan, run.spec, run.record]
    for folder in (run.path, Path(plan.results_dir), *writable):
        made += _make(folder)
    run.spec.write_text(plan.spec_text, encoding="utf-8")
    if plan.container_spec_text:
        run.container_spec.write_text(plan.container_spec_text, encoding="utf-8")
        made.append(run.container_spec)
    write_atomic(run.plan, plan.to_json())
    run.write_record(
        schema_version=1,
        run_id=plan.run_id,
        model=plan.model,
        action=plan.action,
        task=plan.task,
        backend=plan.backend,
        container=plan.container,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        plan_hash=plan.plan_hash,
        results_dir=plan.results_dir,
        parent=plan.parent,
    )
    _hand_over(made, owner)


def _make(folder: Path) -> list[Path]:
    """Make a folder and its parents; returns those that were not there."""
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return absent


def _hand_over(made: list[Path], user: str) -> None:
    """Give what was made through sudo to the user behind it; the run itself writes as that user."""
    if os.getuid() != 0 or not user:
        return
    uid, _, gid = user.partition(":")
    for path in made:
        os.chown(path, int(uid), int(gid or uid))


def stop(run: RunFolder) -> None:
    """Stop a run; it writes a checkpoint first. What still runs of a lost run is ended; an ended one stays as it is."""
    found = status(run)
    if not found.done:
        with contextlib.suppress(OSError):  # a full disk must not keep anybody from stopping a run
            run.write_record(stop_requested=datetime.now(UTC).isoformat(timespec="seconds"))
    if not found.done or found.state == "lost":
        get_backend(str(run.read_record().get("backend", "local"))).stop(run)


def resume(run: RunFolder, talk: Talk | None = None) -> None:
    """Start an interrupted training again, in its own folder: it goes on from its latest checkpoint.

    Raises:
        ConflictError: the run has not ended; UsageError: it succeeded, or is no training; DataError and
        BackendError as for `launch`.
    """
    found = status(run)
    if not found.done:
        raise ConflictError("E_RUN_BUSY", f"{run.run_id} is {found.state}", f"skillrun runs attach {run.run_id}")
    if found.state == "succeeded" or not found.action.endswith("train"):
        what = "has reached its end" if found.state == "succeeded" else f"is no training but {found.action}"
        fix = "to train longer, give a new run train.resume_training_checkpoint_path and a larger num_epochs"
        raise UsageError("E_RESUME", f"{run.run_id} {what}", fix)
    talk, plan = talk or Quiet(), Plan.load(run.plan)
    backend = get_backend(plan.backend)
    backend.require_ready(plan)
    if found.state == "lost":
        backend.stop(run)  # no two may write one folder
    _bring_weights(plan, talk)
    require_passed(plan, here=backend.local_files, say=talk.say)
    settled = backend.settle(plan, talk)
    try:
        for proof in (run.exit, run.result):
            proof.unlink(missing_ok=True)
        run.write_record(stop_requested=None, resumed=datetime.now(UTC).isoformat(timespec="seconds"))
        run.write_record(devices=settled.gpus, handle=backend.launch(settled, talk))
    except OSError as error:
        raise _cannot_write(run, error) from error


def _cannot_write(run: RunFolder, error: OSError) -> BackendError:
    what = f"{run.path}: {error.strerror or error}"
    return BackendError("E_LAUNCH", what, "check space and permissions of the workspace")


def _remove_unused(run: RunFolder) -> None:
    """A run that never started leaves no folder behind."""
    import shutil

    with contextlib.suppress(OSError):
        shutil.rmtree(run.path)
        run.path.parent.rmdir()

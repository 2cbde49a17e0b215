"""Starting a plan: look at the data, make the run folder, call the backend. On an error nothing is left behind."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

from skillrun.backends import get_backend
from skillrun.errors import BackendError, ConflictError, PreflightError, SkillrunError, UsageError
from skillrun.plan import Plan
from skillrun.preflight import check_data
from skillrun.runfolder import RunFolder, write_atomic
from skillrun.specfile import parse_spec
from skillrun.watch import status


def launch(plan: Plan) -> RunFolder:
    """Check the data, make the run folder and start the run.

    Raises:
        DataError: the data set can not be used; BackendError: the backend can not start it.
        PreflightError: a search was asked for, which this version can not do.
    """
    if plan.automl and plan.automl["state"] == "on" and plan.automl["decided_by"] == "flag":
        raise PreflightError("E_AUTOML_MISSING", "this version trains once; it can not search yet", "use --no-automl")
    backend = get_backend(plan.backend)
    backend.require_ready(plan)
    check_data(parse_spec(plan.spec_text).values, plan.action)
    run = RunFolder(Path(plan.run_dir))
    try:
        run.path.mkdir(parents=True)
        Path(plan.results_dir).mkdir(parents=True, exist_ok=True)
        run.spec.write_text(plan.spec_text, encoding="utf-8")
        write_atomic(run.plan, plan.to_json())
        run.write_record(
            schema_version=1,
            run_id=plan.run_id,
            model=plan.model,
            action=plan.action,
            task=plan.task,
            backend=plan.backend,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            plan_hash=plan.plan_hash,
            results_dir=plan.results_dir,
            parent=plan.parent,
        )
        run.write_record(handle=backend.launch(plan))
    except OSError as error:
        raise BackendError(
            "E_LAUNCH", f"{run.path}: {error.strerror or error}", "check space and permissions of the workspace"
        ) from error
    except SkillrunError:
        _remove_unused(run)
        raise
    return run


def resume(run: RunFolder) -> None:
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
    plan = Plan.load(run.plan)
    backend = get_backend(plan.backend)
    backend.require_ready(plan)
    check_data(parse_spec(plan.spec_text).values, plan.action)
    for proof in (run.exit, run.result):
        proof.unlink(missing_ok=True)
    run.write_record(handle=backend.launch(plan), resumed=datetime.now(UTC).isoformat(timespec="seconds"))


def _remove_unused(run: RunFolder) -> None:
    """A run that never started leaves no folder behind."""
    import shutil

    with contextlib.suppress(OSError):
        shutil.rmtree(run.path)
        run.path.parent.rmdir()

"""What a run left, sent to the address that its plan names; who watches the run's end does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from skillrun.errors import ConflictError, UsageError
from skillrun.plan import Plan
from skillrun.progress import Progress
from skillrun.runfolder import RunFolder
from skillrun.watch import status

if TYPE_CHECKING:
    from skillrun.remote import Uploaded


def check_delivery(plan: Plan) -> None:
    """Before the start: whether the address takes files. Raises what ``remote.check_target`` raises."""
    if not plan.upload_to:
        return
    if plan.offline:
        raise UsageError(
            "E_RESULTS_OFFLINE",
            "--results names an address, and requests are switched off",
            "leave out --offline, or --results and later: skillrun runs upload RUN URL",
        )
    from skillrun.remote import check_target, plain

    if plain(plan.upload_to) != plan.upload_to:
        raise UsageError(
            "E_REMOTE_URL",
            f"--results {plain(plan.upload_to)} was given with credentials or a query, which plans must not hold",
            "credentials belong into the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)",
        )
    check_target(plan.upload_to)


def is_due(run: RunFolder) -> str:
    """The address to which an ended run has still to be sent; empty where there is none."""
    if not run.plan.is_file() or run.read_record().get("uploaded"):
        return ""
    return Plan.load(run.plan).upload_to


def deliver(run: RunFolder, url: str, show: Callable[[Progress], None]) -> Uploaded:
    """Send an ended run's folder to ``<url>/<run id>/``, and note it in its record.

    Raises:
        ConflictError: it still runs. BackendError: ``E_RESULTS_UPLOAD``; nothing is lost here.
    """
    from skillrun.remote import upload

    found = status(run)
    if not found.done:
        raise ConflictError(
            "E_RUN_BUSY", f"{run.run_id} is {found.state}", f"skillrun runs attach {run.run_id}", retryable=True
        )
    sent = upload(run.path, url, show)
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    run.write_record(uploaded={**asdict(sent), "at": moment})
    return sent

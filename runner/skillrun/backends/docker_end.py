"""The end of a container: its log, its result and its exit code go into the run folder, then it is removed.

Whoever sees the end first does this: the run's keeper, or anyone who looks at the run when the keeper was killed.
All of it may happen twice without harm.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.backends.docker_errors import explain_exit, explain_restart
from skillrun.layout import relative_to_run, to_host
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder, give_to_folders_owner, read_json, write_atomic

if TYPE_CHECKING:
    from docker.models.containers import Container

ENDED = frozenset({"exited", "dead"})
# How a run ends that an engine stops when it restarts.
STOPPED = frozenset({130, 137, 143})


@contextlib.contextmanager
def keeping(run: RunFolder) -> Iterator[bool]:
    """Hold the run's keeper lock while inside; False where another process holds it."""
    with run.keeper_lock.open("ab") as lock:
        give_to_folders_owner(run.keeper_lock)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            yield False
            return
        yield True


def copy_log(container: Container, run: RunFolder, *, follow: bool) -> None:
    """Write the container's output to the run's log; with ``follow`` until the container ends.

    It starts where this container's output began, so that a second copy replaces the first.
    """
    begin = int((run.read_record().get("handle") or {}).get("log_from") or 0)
    with run.log.open("ab") as log:
        log.truncate(begin)
        for part in container.logs(stream=True, follow=follow):
            log.write(part)
            log.flush()


def collect(container: Container, run: RunFolder, *, engine_restarted: bool = False) -> None:
    """Write ``result.json`` and ``exit.json`` of an ended container, then remove the container."""
    plan = Plan.load(run.plan)
    state: dict[str, Any] = container.attrs["State"]
    code = int(state.get("ExitCode") or 0)
    if plan.container == "tao":
        _write_tao_result(run, plan, state, code)
    else:
        _use_host_paths(run, plan)
    error = explain_restart(plan) if engine_restarted and code in STOPPED else explain_exit(state, plan)
    ended = {"exit_code": code, "seconds": _seconds(state), "error": error}
    write_atomic(run.exit, json.dumps(ended) + "\n")
    remove(container)


def remove(container: Container) -> None:
    """Remove a container, running or not; one that is gone, or going, is no error."""
    from docker.errors import APIError, NotFound

    try:
        container.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # removal is in progress already
            raise


def _use_host_paths(run: RunFolder, plan: Plan) -> None:
    """The container wrote its own paths into its result; readers live on the host."""
    result = read_json(run.result)
    if result is None:
        return
    for entry in (*(result.get("checkpoints") or []), *(result.get("artifacts") or [])):
        entry["path"] = relative_to_run(entry["path"], plan.run_dir, plan.mounts)
    _error_to_host(result, plan)
    write_atomic(run.result, json.dumps(result, ensure_ascii=False, indent=1) + "\n")


def _error_to_host(result: dict[str, Any], plan: Plan) -> None:
    error = result.get("error")
    if error:
        result["error"] = {k: to_host(v, plan.mounts) if isinstance(v, str) else v for k, v in error.items()}


def _output_files(plan: Plan) -> list[Path]:
    """Files that the spec names as outputs, as the host has them."""
    from skillrun import bank
    from skillrun.overrides import get_dotted
    from skillrun.spec import path_keys
    from skillrun.specfile import parse_spec

    values = parse_spec(plan.spec_text).values
    keys = path_keys(bank.schema(plan.model, plan.action))
    named = (get_dotted(values, key) for key, mark in keys.items() if mark == ("file", "out"))
    return [Path(path) for path in named if path]


def _write_tao_result(run: RunFolder, plan: Plan, state: dict[str, Any], code: int) -> None:
    """NVIDIA's container writes no result of its own: it follows from the files that it left."""
    from skillrun.tao.result import result_from

    lines = run.log.read_text(encoding="utf-8", errors="replace").splitlines() if run.log.exists() else []
    result = result_from(
        plan.action_folder,
        run.path,
        action=plan.action,
        task=plan.task,
        exit_code=code,
        started=str(state.get("StartedAt") or ""),
        finished=str(state.get("FinishedAt") or ""),
        seconds=_seconds(state),
        last_log_lines=lines[-200:],
        stopped=bool(run.read_record().get("stop_requested")),
        outputs=_output_files(plan),
    )
    _error_to_host(result, plan)
    write_atomic(run.result, json.dumps(result, ensure_ascii=False, indent=1) + "\n")


def _seconds(state: dict[str, Any]) -> float:
    """How long the container ran, in seconds."""
    try:
        start, end = (datetime.fromisoformat(str(state[name])[:19] + "+00:00") for name in ("StartedAt", "FinishedAt"))
    except (KeyError, ValueError):
        return 0.0
    return max((end - start).total_seconds(), 0.0)

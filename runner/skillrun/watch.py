"""Following a run: its state, its events, its result. All of it is read from the run folder and the system."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from skillrun.backends import get_backend
from skillrun.errors import GateError, RunFailedError
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder, read_json

State = Literal["planned", "launched", "running", "succeeded", "failed", "cancelled", "lost"]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled", "lost"})
EXIT_POLL_S = 0.02
CANCEL_CODES = frozenset({130, 143})


@dataclass(frozen=True)
class RunStatus:
    """What is known of a run now.

    Attributes:
        reason: one sentence for a state that is not plain success.
        metrics: of ``result.json``, empty before the end.
    """

    run_id: str
    state: State
    action: str
    task: str
    created: str
    run_dir: str
    exit_code: int | None = None
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    @property
    def done(self) -> bool:
        """True for a state that does not change any more."""
        return self.state in TERMINAL


def status(run: RunFolder) -> RunStatus:
    """The state of a run. Success needs exit code 0 and a result whose listed files exist; no log line decides."""
    record = run.read_record()
    state, code, reason = _state(run, record)
    result = read_json(run.result) or {}
    error = _error(read_json(run.exit) or {}, result) if state in ("failed", "cancelled") else None
    return RunStatus(
        run_id=run.run_id,
        state=state,
        action=str(record.get("action", "")),
        task=str(record.get("task", "")),
        created=str(record.get("created", "")),
        run_dir=str(run.path),
        exit_code=code,
        reason=reason,
        metrics=result.get("metrics") or {},
        error=error,
    )


def _state(run: RunFolder, record: dict[str, Any]) -> tuple[State, int | None, str]:
    if read_json(run.exit) is None:
        seen = get_backend(str(record.get("backend", "local"))).look(run)
        if seen.alive:
            return ("running" if progress_file(run).exists() else "launched"), None, seen.note
        if read_json(run.exit) is None:
            return ("failed", None, seen.note) if seen.note else _without_exit(run, record)
    ended, result = read_json(run.exit) or {}, read_json(run.result) or {}
    code = int(ended.get("exit_code", 1))
    proven = code == 0 and result.get("status") == "succeeded"
    ended_itself = not ended.get("error") and (code in CANCEL_CODES or result.get("status") == "cancelled")
    if ended_itself or (record.get("stop_requested") and not proven):
        return "cancelled", code, "stopped on request"
    if code != 0:
        message = (_error(ended, result) or {}).get("message")
        return "failed", code, message or last_line(run.log) or f"the command ended with exit code {code}"
    if not proven:
        message = (result.get("error") or {}).get("message")
        return "failed", code, message or "exit code 0, but no result.json that says succeeded"
    missing = missing_files(run, result)
    if missing:
        return "failed", code, f"result.json lists {missing[0]!r}, which does not exist"
    return "succeeded", code, ""


def _without_exit(run: RunFolder, record: dict[str, Any]) -> tuple[State, None, str]:
    if record.get("handle") is None and not run.supervisor.is_file():  # a launcher may die before it notes the handle
        return "planned", None, "not launched"
    if record.get("backend") == "docker":
        return "lost", None, "its container is gone, removed by someone else before its exit code was read"
    return "lost", None, "the process is gone and left no exit code (host restarted, or killed with SIGKILL)"


def _error(ended: dict[str, Any], result: dict[str, Any]) -> dict[str, Any] | None:
    """What the backend knows of the end (killed, out of memory) goes before what the run could still say itself."""
    return ended.get("error") or result.get("error")


def missing_files(run: RunFolder, result: dict[str, Any]) -> list[str]:
    """What the result lists and what is not there: checkpoints are files, artifacts files or folders."""
    checkpoints, artifacts = (
        [item["path"] for item in result.get(kind) or []] for kind in ("checkpoints", "artifacts")
    )
    lost = [name for name in checkpoints if not (run.path / name).is_file()]
    return lost + [name for name in artifacts if not (run.path / name).exists()]


def last_line(path: Path) -> str:
    """The last non-empty line of a text file, or the empty text."""
    try:
        lines = path.read_bytes()[-8192:].decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Whole events after a byte offset, and the offset behind them. A half-written last line waits."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read()
    except FileNotFoundError:
        return [], offset
    whole, newline, _ = data.rpartition(b"\n")
    events = []
    for line in whole.splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events, offset + len(whole) + len(newline)


def progress_file(run: RunFolder) -> Path:
    """Where a run tells how far it is: ``events.jsonl``; NVIDIA's container its own ``status.json``."""
    if run.read_record().get("container") != "tao":
        return run.events
    return Plan.load(run.plan).action_folder / "status.json"


def _event_reader(run: RunFolder) -> Callable[[int, bool], tuple[list[dict[str, Any]], int]]:
    """A function of the byte offset, and of whether the run has ended, that gives new events and the next offset."""
    path = progress_file(run)
    if path == run.events:
        return lambda offset, _ended: read_events(path, offset)
    from skillrun.tao.status import read_status

    return lambda offset, ended: read_status(path, offset, ended=ended)


def follow(
    run: RunFolder, *, offset: int = 0, poll_s: float = 0.2, stop: Callable[[], bool] = lambda: False
) -> Iterator[dict[str, Any]]:
    """Events as they come, from a byte offset; ends when the run does, or when ``stop()`` says so."""
    read = _event_reader(run)
    while True:
        done = status(run).done
        events, offset = read(offset, done)
        yield from events
        if done or stop():
            return
        _pause(run, poll_s)


def _pause(run: RunFolder, seconds: float) -> None:
    """Wait, but not past the end of the run: a file is looked for more often than a backend is asked."""
    until = time.monotonic() + seconds
    while True:
        time.sleep(max(min(EXIT_POLL_S, until - time.monotonic()), 0))
        if run.exit.exists() or time.monotonic() >= until:
            return


def require_success(found: RunStatus) -> RunStatus:
    """The same status; raises RunFailedError (GateError where the run refused its own result) with the reason."""
    if found.state == "succeeded":
        return found
    error = found.error or {}
    again = found.action.endswith("train") and found.state in ("cancelled", "lost")
    fix = str(error.get("fix") or f"skillrun runs {'resume' if again else 'logs'} {found.run_id}")
    kind = GateError if found.exit_code == GateError.exit_code else RunFailedError
    raise kind(str(error.get("code") or "E_RUN_FAILED"), f"{found.run_id} {found.state}: {found.reason}", fix)

"""One action from start to end: its folders, its three log files and its result, whatever happens."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import signal
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any

import yaml

from visual_changenet.atomic import write_text_atomic
from visual_changenet.errors import CancelledError, ChangeNetError, RunError, SpecError
from visual_changenet.events import EventLog, finite, now
from visual_changenet.status import StatusLog

RUN_DIR_VARIABLE = "SKILLRUN_RUN_DIR"
PROVENANCE_VARIABLE = "SKILLRUN_PROVENANCE"
RANK_VARIABLES = ("RANK", "NODE_RANK", "LOCAL_RANK")


def is_first_process() -> bool:
    """True in the only process of a run, and in the first of several; the others write no files."""
    return all(os.environ.get(name, "0") == "0" for name in RANK_VARIABLES)


def results_dir(spec: dict[str, Any], action: str) -> Path:
    """``<action>.results_dir`` if given, else ``<results_dir>/<action>``.

    Raises:
        SpecError: ``E_SPEC_RESULTS_DIR`` where neither is given.
    """
    own = spec[action].get("results_dir")
    if own:
        return Path(own)
    if spec.get("results_dir"):
        return Path(spec["results_dir"]) / action
    raise SpecError("E_SPEC_RESULTS_DIR", "results_dir is not given.", "set results_dir to a folder")


def provenance() -> dict[str, Any]:
    """What the caller knows of the weights: ``parent`` (run_id, sha256), ``weights`` (source, revision, sha256).

    Raises:
        SpecError: ``E_SPEC_PROVENANCE`` where the variable holds no JSON object.
    """
    try:
        found = json.loads(os.environ.get(PROVENANCE_VARIABLE) or "{}")
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    fix = f"unset {PROVENANCE_VARIABLE}"
    raise SpecError("E_SPEC_PROVENANCE", f"the variable {PROVENANCE_VARIABLE} holds no JSON object.", fix)


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _locked(folder: Path) -> IO[bytes]:
    """An open file that keeps others out of a results folder; the system frees it when the process ends.

    Raises:
        RunError: ``E_RUN_BUSY`` where a process that still runs writes there.
    """
    lock = (folder / ".lock").open("ab")
    try:
        # Not flock: loader processes would inherit it and hold it for seconds after a kill.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        lock.close()
        raise RunError(
            "E_RUN_BUSY",
            f"another process still writes into {folder}.",
            "wait for it or stop it, or set results_dir to another folder",
            retryable=True,
        ) from error
    return lock


class Session:
    """Context of a running action.

    Leaving it, normally or by any exception, writes the last status line, the ``end`` event and result.json.
    SIGINT and SIGTERM set ``interrupted``; the action ends its step, saves and calls ``check_interrupted``.
    """

    def __init__(self, action: str, spec: dict[str, Any]) -> None:
        self.action, self.spec = action, spec
        self.results_dir = results_dir(spec, action)
        self.run_dir = Path(os.environ.get(RUN_DIR_VARIABLE) or self.results_dir)
        self.first = is_first_process()
        self.interrupted = False
        self.metrics: dict[str, float] = {}
        self.checkpoints: list[dict[str, Any]] = []
        self.artifacts: list[dict[str, str]] = []
        self.environment: dict[str, Any] = {"python": platform.python_version()}
        self.provenance = provenance()
        self._handlers: dict[int, Any] = {}
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Session:
        for folder in (self.results_dir, self.run_dir):
            folder.mkdir(parents=True, exist_ok=True)
        if self.first:
            self._lock = _locked(self.results_dir)
        self.started, self._clock = now(), time.monotonic()
        self.events = EventLog(self.run_dir / "events.jsonl" if self.first else None)
        self.status = StatusLog(self.results_dir / "status.json" if self.first else None)
        self.catch_signals()
        self.save_spec()
        self.status.write("STARTED", f"Starting Visual ChangeNet {self.action}.")
        return self

    def save_spec(self) -> None:
        """Write the resolved spec to experiment.yaml."""
        if not self.first:
            return
        text = yaml.safe_dump(self.spec, sort_keys=False, allow_unicode=True)
        write_text_atomic(self.results_dir / "experiment.yaml", text)

    def catch_signals(self) -> None:
        """Take over SIGINT and SIGTERM (again, where a library installed its own handlers meanwhile)."""
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.signal(number, self._on_signal)
            self._handlers.setdefault(number, previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True

    def check_interrupted(self) -> None:
        """Raise ``CancelledError`` after a signal."""
        if self.interrupted:
            raise CancelledError("E_CANCELLED", f"{self.action} was interrupted.", "start it again, or resume")

    def start(self, device: str, **fields: Any) -> None:
        """The ``start`` event, once the device is known."""
        self.environment["device"] = device
        self.events.emit("start", action=self.action, task=self.spec["task"], device=device, **fields)

    def notice(self, message: str) -> None:
        """Something was changed or ignored that the user should know."""
        self.events.emit("notice", message=message)

    def add_artifact(self, path: Path, kind: str) -> None:
        """List a file in result.json."""
        self.artifacts.append({"path": self.relative(path), "kind": kind})

    def relative(self, path: Path) -> str:
        """The path as seen from result.json's folder."""
        return Path(os.path.relpath(path.resolve(), self.run_dir.resolve())).as_posix()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cancelled = isinstance(error, CancelledError | KeyboardInterrupt)
        status = "succeeded" if error is None else "cancelled" if cancelled else "failed"
        name = self.action.capitalize()
        if error is None:
            self.status.write("SUCCESS", f"{name} finished successfully.")
        elif cancelled:
            self.status.write("FAILURE", f"User/System interruption: {name} was interrupted")
        else:
            self.status.write("FAILURE", _failure_text(error))
        self._write_result(status, error)
        self.events.emit("end", status=status)
        for number, previous in self._handlers.items():
            signal.signal(number, previous)
        if self._lock is not None:
            self._lock.close()

    def _write_result(self, status: str, error: BaseException | None) -> None:
        if not self.first:
            return
        result = {
            "schema_version": 1,
            "status": status,
            "action": self.action,
            "task": self.spec["task"],
            "started": self.started,
            "finished": now(),
            "seconds": round(time.monotonic() - self._clock, 3),
            "checkpoints": self.checkpoints,
            "metrics": self.metrics,
            "artifacts": self.artifacts,
            "environment": self.environment,
            "provenance": self.provenance,
            "error": None if error is None else _error_json(error),
        }
        text = json.dumps(finite(result), ensure_ascii=False, indent=1, allow_nan=False)
        write_text_atomic(self.run_dir / "result.json", text + "\n")


def _error_json(error: BaseException) -> dict[str, Any]:
    if isinstance(error, ChangeNetError):
        return error.to_json()
    code = "E_CANCELLED" if isinstance(error, KeyboardInterrupt) else "E_UNEXPECTED"
    return {"code": code, "message": f"{type(error).__name__}: {error}", "fix": "", "retryable": False}


def _failure_text(error: BaseException | None) -> str:
    if isinstance(error, SpecError):
        return f"Configuration error: {error}"
    if isinstance(error, OSError):
        return f"File system error: {error}"
    if isinstance(error, ValueError | TypeError):
        return f"Parameter validation error: {error}"
    return f"{type(error).__name__}: {error}"

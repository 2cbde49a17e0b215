"""One run = one folder, readable without us, safe on shared file systems: files are written aside, fsynced, renamed.

``plan.json spec.yaml run.json events.jsonl stdout.log exit.json result.json results/``
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skillrun.errors import NotFoundError, UsageError
from skillrun.overrides import nearest

WORKSPACE_VARIABLE = "SKILLRUN_WORKSPACE"


def write_atomic(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}")
    try:
        with aside.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        give_to_folders_owner(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def give_to_folders_owner(path: Path) -> None:
    """What root writes into another user's folder, as through sudo, becomes that user's."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        with contextlib.suppress(OSError):  # a file system that knows no owners
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where the file is absent or no object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class RunFolder:
    """Owns every path inside a run's folder; nothing else joins these names."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def spec(self) -> Path:
        return self.path / "spec.yaml"

    @property
    def record(self) -> Path:
        return self.path / "run.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "stdout.log"

    @property
    def exit(self) -> Path:
        return self.path / "exit.json"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def container_spec(self) -> Path:
        """The spec with container paths; only where a container runs."""
        return self.path / "spec.container.yaml"

    @property
    def supervisor(self) -> Path:
        """Which process looks after a local run, in its own words; there as soon as anything was started."""
        return self.path / "supervisor.json"

    @property
    def keeper_lock(self) -> Path:
        """Held by the process that collects the end of the run."""
        return self.path / ".keeper.lock"

    @property
    def results(self) -> Path:
        return self.path / "results"

    def read_record(self) -> dict[str, Any]:
        """``run.json``; raises NotFoundError where this is no run folder."""
        record = read_json(self.record)
        if record is None:
            raise NotFoundError(
                "E_RUN_NOT_FOUND", f"{self.path} is no run folder: it has no run.json", "skillrun runs list"
            )
        return record

    def write_record(self, **changes: Any) -> None:
        """Merge values into ``run.json``."""
        record = {**(read_json(self.record) or {}), **changes}
        write_atomic(self.record, json.dumps(record, indent=2) + "\n")


def workspace(given: Path | None = None) -> Path:
    """Where runs live: ``--workspace``, else ``SKILLRUN_WORKSPACE``, else the current folder."""
    return (given or Path(os.environ.get(WORKSPACE_VARIABLE) or ".")).expanduser().absolute()


def new_run_id(action: str, now: datetime | None = None) -> str:
    """Short, sortable by time, names the action: ``261120-223612-train-4f1c``."""
    moment = now or datetime.now(UTC)
    return f"{moment:%y%m%d-%H%M%S}-{action}-{secrets.token_hex(2)}"


def check_writable(folder: Path, *, what: str) -> None:
    """Refuse a folder that can not be written, before anything is made.

    Raises:
        UsageError: the folder, or the nearest parent that exists, refuses a new file.
    """
    fix = "choose another folder with --results or --workspace, or change its permissions"
    try:
        nearest_there = folder
        while not nearest_there.exists() and nearest_there != nearest_there.parent:
            nearest_there = nearest_there.parent
    except OSError as error:
        raise UsageError("E_RESULTS_NOT_WRITABLE", f"{what} {str(folder)!r}: {error.strerror}", fix) from error
    if not nearest_there.is_dir():
        raise UsageError("E_RESULTS_NOT_A_FOLDER", f"{what} {str(folder)!r}: {nearest_there} is a file", fix)
    probe = nearest_there / f".skillrun-probe-{secrets.token_hex(4)}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            "E_RESULTS_NOT_WRITABLE", f"{what} {str(folder)!r} is not writable: {error.strerror}", fix
        ) from error


def list_runs(root: Path) -> Iterator[RunFolder]:
    """All runs of a workspace, newest first."""
    runs = root / "runs"
    if runs.is_dir():
        for folder in sorted(runs.iterdir(), reverse=True):
            if (folder / "run.json").is_file():
                yield RunFolder(folder)


def _as_folder(reference: str) -> Path | None:
    """The run folder that a text names, or None; a text that can be no path is no error."""
    try:
        folder = Path(reference).expanduser().absolute()
        return folder if (folder / "run.json").is_file() else None
    except (OSError, RuntimeError):
        return None


def find_run(reference: str, root: Path) -> RunFolder:
    """A run by id, unique beginning of an id, folder path, or ``last``.

    Raises:
        NotFoundError: none fits; UsageError: several do.
    """
    as_path = _as_folder(reference)
    if as_path is not None:
        return RunFolder(as_path)
    runs = list(list_runs(root))
    if reference == "last" and runs:
        return runs[0]
    fitting = [run for run in runs if run.run_id.startswith(reference)] if reference != "last" else []
    exact = [run for run in fitting if run.run_id == reference]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    if fitting:
        names = ", ".join(run.run_id for run in fitting[:5])
        raise UsageError(
            "E_RUN_AMBIGUOUS", f"{reference!r} fits several runs: {names}", f"name one: {fitting[0].run_id}"
        )
    close = nearest(reference, [run.run_id for run in runs])
    hint = f"; did you mean {close[0]}?" if close else ""
    raise NotFoundError("E_RUN_NOT_FOUND", f"no run {reference!r} in {root / 'runs'}{hint}", "skillrun runs list")

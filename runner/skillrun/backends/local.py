"""The local backend: the container's own command as a process on this host, with host paths and no container.

The default where there is no Docker and no GPU. A supervisor process in a session of its own owns the run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skillrun.backends import Seen, Talk, supervisor
from skillrun.errors import BackendError
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder, read_json, write_atomic

# What the supervisor starts.
_REQUEST = "launch.json"


class LocalBackend:
    """Keeps the promises of `skillrun.backends.Backend` with plain processes."""

    name = "local"

    def render(self, plan: Plan) -> dict[str, Any]:
        """The exact command and the variables set for it."""
        return {"backend": self.name, "argv": list(plan.argv), "env": dict(plan.env), "cwd": plan.run_dir}

    @property
    def local_files(self) -> bool:
        """True: the run sees this host's files."""
        return True

    def require_ready(self, plan: Plan) -> None:
        """The model's command and what it imports are installed.

        Raises:
            BackendError: they are not.
        """
        command = Path(find_command(plan.argv[0]))
        missing = missing_packages()
        if missing and command.parent == Path(sys.executable).parent:
            raise BackendError(
                "E_LOCAL_NO_TORCH",
                f"{plan.argv[0]} needs {', '.join(missing)}, not installed here",
                "pip install 'skillrun[local]', or use --backend docker",
            )

    def settle(self, plan: Plan, talk: Talk) -> Plan:
        """Nothing is left open: a process takes the host as it is."""
        return plan

    def launch(self, plan: Plan, talk: Talk) -> dict[str, Any]:
        """Start the supervisor; returns its process id, start time and host.

        Raises:
            BackendError: the supervisor does not start.
        """
        run = RunFolder(Path(plan.run_dir))
        request = self.render(plan)
        command = find_command(request["argv"][0])
        run.supervisor.unlink(missing_ok=True)  # of the start before, where the run is resumed
        write_atomic(run.path / _REQUEST, json.dumps({**request, "argv": [command, *request["argv"][1:]]}) + "\n")
        started = subprocess.run(
            [sys.executable, "-S", supervisor.__file__, str(run.path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=run.path,
            check=False,
        )
        handle = read_json(run.supervisor)
        if handle is None:
            raise BackendError("E_LOCAL_START", f"the run could not be started: {started.stderr.strip()}")
        return handle

    def look(self, run: RunFolder) -> Seen:
        """Whether the supervisor still runs; on another host it can not be asked and counts as alive."""
        noted = read_json(run.supervisor)
        if noted is None:
            return Seen(alive=False)
        if noted["host"] != os.uname().nodename:
            return Seen(alive=True, note=f"started on {noted['host']}; only that host knows")
        return Seen(_process_state(noted["pid"]) not in (None, "Z") and supervisor.identity(noted["pid"]) == noted)

    def forget(self, run: RunFolder) -> None:
        """End at once what a killed supervisor left running; its folder is about to go."""
        _end_leftovers(run, time.monotonic())

    def stop(self, run: RunFolder, *, grace_s: float = 30.0) -> None:
        """Ask the run to end (it writes a checkpoint first), then make it end; also what a killed supervisor left."""
        noted = read_json(run.supervisor)
        if noted is None:
            return
        deadline = time.monotonic() + grace_s
        if self.look(run).alive:
            if noted["host"] != os.uname().nodename:
                raise BackendError(
                    "E_RUN_OTHER_HOST", f"the run is on {noted['host']}", f"stop it there: ssh {noted['host']}"
                )
            self._end(run, noted["pid"], deadline)
        _end_leftovers(run, deadline)

    def _end(self, run: RunFolder, pid: int, deadline: float) -> None:
        _send(signal.SIGTERM, [pid])
        while self.look(run).alive and time.monotonic() < deadline:
            time.sleep(0.1)
        for child in _children(pid) if self.look(run).alive else []:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        while self.look(run).alive and time.monotonic() < deadline + 5:
            time.sleep(0.05)


def missing_packages() -> list[str]:
    """What the model needs and this environment lacks."""
    return [name for name in ("torch", "lightning", "cv2") if importlib.util.find_spec(name) is None]


def find_command(name: str) -> str:
    """The model's command: beside this interpreter, else on PATH.

    Raises:
        BackendError: it is in neither place.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise BackendError(
            "E_LOCAL_NO_COMMAND",
            f"the command {name!r} is not installed on this host",
            "pip install 'skillrun[local]', or use --backend docker",
        )
    return found


def _end_leftovers(run: RunFolder, deadline: float) -> None:
    """The training of a supervisor that was killed trains on, and nobody would note its end: it is ended as well."""
    words = (read_json(run.path / _REQUEST) or {"argv": []})["argv"][1:]
    if not any(str(run.path) in word for word in words):
        return  # words that other runs may have too
    found = _processes(words)
    _send(signal.SIGTERM, [pid for pid in found if _parent(pid) not in found])  # loaders it needs until it has saved
    while (left := _processes(words)) and time.monotonic() < deadline + 5:
        if time.monotonic() >= deadline:
            _send(signal.SIGKILL, left)
        time.sleep(0.2)


def _send(number: signal.Signals, pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it may end by itself at any moment
            os.kill(pid, number)


def _processes(tail: Sequence[str]) -> list[int]:
    """Processes of this host whose command line ends with these words."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().decode("utf-8", errors="surrogateescape").split("\0")[:-1]
            if words[-len(tail) :] == list(tail):
                found.append(int(place.name))
    return found


def _process_state(pid: int) -> str | None:
    fields = supervisor.stat_fields(pid)
    if fields:
        return fields[0]
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "R"
    return "R"


def _parent(pid: int) -> int | None:
    fields = supervisor.stat_fields(pid)
    return int(fields[1]) if fields else None


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    except OSError:
        return []
    return [int(word) for word in text.split()]

"""Runs one command, and writes down how it ended, whether or not anybody is watching.

Started by the local backend as ``python supervisor.py RUN_FOLDER``. It moves into a process and a session of its own,
so that neither a closed terminal nor a killed launcher ends the run and no launcher has a child to wait for, and notes
in ``supervisor.json`` who it is before it lets go of the launcher's pipes: their end says that the note is written.
Standard library only: it must start in milliseconds and never fail on an import.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGINT)


def detach(folder: Path) -> int:
    """Go on in a process of our own; the one that was started ends at once."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until `supervise` can pass them on
    if os.fork():
        return 0
    os.setsid()
    silence, complaints = os.open(os.devnull, os.O_RDWR), os.open(folder / "supervisor.log", os.O_CREAT | os.O_WRONLY)
    _write(folder / "supervisor.json", identity(os.getpid()))
    for stream, target in ((0, silence), (1, silence), (2, complaints)):
        os.dup2(target, stream)
    return supervise(folder)


def identity(pid: int) -> dict[str, int | str]:
    """A process of this host, told apart from a later one of the same number and from one of another host."""
    fields = stat_fields(pid) or []
    return {"pid": pid, "started": fields[19] if len(fields) > 19 else "", "host": os.uname().nodename}


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the process name, or None where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def supervise(folder: Path) -> int:
    """Run the command of ``launch.json`` with output to ``stdout.log``; the exit code goes to ``exit.json``."""
    request = json.loads((folder / "launch.json").read_text(encoding="utf-8"))
    started = time.time()
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        if child is None:
            early.append(number)
        elif child.poll() is None:
            os.kill(child.pid, number)  # not its loaders: it needs them to end its step and save

    for stop in STOPS:
        signal.signal(stop, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    with (folder / "stdout.log").open("ab") as log:
        child = subprocess.Popen(
            request["argv"],
            env={**os.environ, **request["env"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in early:
            forward(number, None)
        code = child.wait()
    _write(
        folder / "exit.json",
        {"exit_code": code if code >= 0 else 128 - code, "seconds": time.time() - started},
    )
    return 0


def _write(path: Path, value: Mapping[str, float | str]) -> None:
    aside = path.with_suffix(".tmp")
    with aside.open("w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


if __name__ == "__main__":
    sys.exit(detach(Path(sys.argv[1])))

"""Work that may take longer than a call: it runs in a process of its own, and the same call again waits on.

A job is a folder ``<workspace>/.skillrun/jobs/<name>/``. Whoever starts it hands the open lock file to its process, so
the lock says for any process whether somebody works on it; ``answer.json`` says how it ended. A client that is killed
loses nothing. The folders may be removed whenever nothing runs; those of launches hold the keys that were used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from skillrun.errors import BackendError, ConflictError, SkillrunError, WaitTimeoutError
from skillrun.runfolder import check_writable, read_json, write_atomic
from skillrun.watch import last_line

PATIENCE_S = 45.0
# An answer that nobody fetched for so long is not given to a later call with the same arguments.
FRESH_S = 600.0
_POLL_S = 0.02


@dataclass(frozen=True)
class Call:
    """What a job is to do.

    Attributes:
        tool: its name; ``arguments``: as plain values.
        root: the workspace.
        key: names work that is done once and for all; empty where every call is work of its own.
    """

    tool: str
    arguments: Mapping[str, Any]
    root: Path
    key: str = ""

    @property
    def folder(self) -> Path:
        """The folder of the job, which two calls share that mean the same work."""
        told = self.key or json.dumps([self.arguments, str(Path.cwd())], sort_keys=True)
        name = hashlib.sha256(f"{self.tool}\n{told}".encode(errors="surrogatepass")).hexdigest()[:24]
        return self.root / ".skillrun" / "jobs" / name


class Job:
    """The files of a job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.call, self.answer = folder / "call.json", folder / "answer.json"
        self.fetched, self.log = folder / "fetched", folder / "log.txt"

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Alone among those who look whether to start."""
        with (self.folder / "start.lock").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    def free(self) -> IO[str] | None:
        """The lock of the work, held, or None while somebody works."""
        lock = (self.folder / "work.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def idle(self) -> bool:
        """Whether nobody works on it."""
        lock = self.free()
        if lock is not None:
            lock.close()
        return lock is not None

    def ended(self, attempt: str) -> dict[str, Any] | None:
        """The answer to an attempt, or None as long as there is none."""
        answer = read_json(self.answer)
        return answer if answer and answer.get("attempt") == attempt else None


def work(call: Call, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """The answer of a job, which is started unless it is at work or done.

    Raises:
        WaitTimeoutError: ``E_TOOL_WORKING``, it goes on; the same call later gets the answer.
        ConflictError: the key names other work. BackendError: the job can not be started, or its process died.
        SkillrunError: what the work itself raised.
    """
    until = time.monotonic() + patience_s
    check_writable(call.folder, what="the workspace")
    job = Job(call.folder)
    try:
        call.folder.mkdir(parents=True, exist_ok=True)
        with job.starting():
            attempt = _join(job, call) or _start(job, call)
    except OSError as reason:
        what = f"{call.folder}: {reason.strerror or reason}"
        raise BackendError("E_LAUNCH", what, "check space and permissions of the workspace") from reason
    answer = _wait(job, call, attempt, until)
    if not call.key:
        write_atomic(job.fetched, attempt)
    if error := answer.get("error"):
        raise raised(error)
    found: dict[str, Any] = answer["answer"]
    return found


def _join(job: Job, call: Call) -> str:
    """The attempt that is at work, or whose answer counts for this call; empty where a new one is needed."""
    earlier = read_json(job.call)
    if earlier is None:
        return ""
    attempt = str(earlier["attempt"])
    if answer := job.ended(attempt):
        if not _counts(job, call, attempt, answer):
            return ""
    elif job.idle():
        return ""
    if earlier["arguments"] != call.arguments:
        message = f"key {call.key!r} was used for another call of {call.tool}"
        raise ConflictError("E_TOOL_KEY_USED", message, "another key, or the fields that came with this one")
    return attempt


def _counts(job: Job, call: Call, attempt: str, answer: Mapping[str, Any]) -> bool:
    """With a key, success counts for ever and an error never; else an answer counts until it is fetched or old."""
    if call.key:
        return "answer" in answer
    fetched = job.fetched.is_file() and job.fetched.read_text(encoding="utf-8") == attempt
    return not fetched and time.time() - job.answer.stat().st_mtime < FRESH_S


def _start(job: Job, call: Call) -> str:
    attempt = secrets.token_hex(8)
    told = {"attempt": attempt, "tool": call.tool, "arguments": call.arguments, "root": str(call.root), "key": call.key}
    lock = job.free()
    if lock is None:  # the worker that wrote the last answer is about to leave
        lock = (job.folder / "work.lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_EX)
    with lock, job.log.open("wb") as log:
        write_atomic(job.call, json.dumps(told))
        subprocess.run(  # waits only until the process has forked its own
            [sys.executable, "-m", "skillrun.agent.jobs", str(job.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock.fileno()],
            check=False,
        )
    return attempt


def _wait(job: Job, call: Call, attempt: str, until: float) -> dict[str, Any]:
    while True:
        if answer := job.ended(attempt):
            return answer
        if job.idle():
            if answer := job.ended(attempt):  # written since the look above
                return answer
            why = last_line(job.log) or "it left no word"
            raise BackendError("E_TOOL_DIED", f"{call.tool} died: {why}", "call it again", retryable=True)
        if time.monotonic() >= until:
            message = f"{call.tool} is still at work; it goes on whether or not anybody waits"
            raise WaitTimeoutError("E_TOOL_WORKING", message, "call it again with the same arguments", retryable=True)
        time.sleep(_POLL_S)


def raised(error: Mapping[str, Any]) -> SkillrunError:
    """An error as another process wrote it down, of the same class."""
    kinds = {kind.exit_code: kind for kind in SkillrunError.__subclasses__()}
    kind = kinds.get(error["exit_code"], SkillrunError)
    told = error.get("details", ())
    return kind(error["code"], error["message"], error["fix"], retryable=error["retryable"], details=told)


def main(folder: Path) -> None:
    """Do the work of a job and write its answer."""
    from skillrun.agent.tools import tool

    job = Job(folder)
    told = json.loads(job.call.read_text(encoding="utf-8"))
    asked = tool(told["tool"])
    try:
        ended: dict[str, Any] = {"answer": asked.run(asked.read(told["arguments"]), Path(told["root"])).to_json()}
    except SkillrunError as error:
        ended = {"error": error.to_json()}
    write_atomic(job.answer, json.dumps({"attempt": told["attempt"], **ended}, default=str))


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    main(Path(sys.argv[1]))

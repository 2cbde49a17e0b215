"""The journal of a study: one text file on any file system, which survives a writer that is killed at any moment.

Optuna's own lock file stays behind when its holder is killed, and the next one waits half a minute for it. Ours says
who holds it: where that process is gone from this host, the lock is taken over at once; a holder on another host is
given Optuna's grace time. Heartbeats, which Optuna keeps in databases only, are not needed: whether a trial is alive
is asked of the backend that runs it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import time
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

GRACE_S = 30.0
_LONGEST_NAP_S = 0.05


class OwnedLock(BaseJournalFileLock):
    """A lock file (a symbolic link, which every file system makes atomically) that names its holder."""

    def __init__(self, journal: Path, grace_s: float = GRACE_S) -> None:
        self._path = journal.with_name(f"{journal.name}.lock")
        self._grace_s = grace_s
        self._token = ""

    def acquire(self) -> bool:
        """Wait for the lock; True."""
        nap, seen, since = 0.001, "", time.monotonic()
        self._token = f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}:{secrets.token_hex(4)}"
        while True:
            with contextlib.suppress(FileExistsError):
                self._path.symlink_to(self._token)
                return True
            holder = self._holder()
            if holder != seen:
                seen, since = holder, time.monotonic()
            if holder and (_is_gone(holder) or time.monotonic() - since > self._grace_s):
                self._break(holder)
            time.sleep(nap)
            nap = min(nap * 2, _LONGEST_NAP_S)

    def release(self) -> None:
        """Give it up; a lock that was taken over by others in the meantime stays theirs."""
        if self._holder() == self._token:
            self._path.unlink(missing_ok=True)

    def _holder(self) -> str:
        try:
            return str(self._path.readlink())
        except OSError:
            return ""

    def _break(self, holder: str) -> None:
        """Remove the lock of a holder that is gone; one process at a time, so that no new holder's lock goes."""
        with self._path.with_name(f"{self._path.name}.break").open("w", encoding="utf-8") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            if self._holder() == holder:
                self._path.unlink(missing_ok=True)


def _is_gone(token: str) -> bool:
    host, _, rest = token.partition(":")
    pid, _, rest = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit() or not Path("/proc/self/stat").exists():
        return False
    return _started(int(pid)) != rest.partition(":")[0]


def _started(pid: int) -> str:
    """When a process began, in clock ticks; empty where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def open_journal(path: Path, *, reading: bool = False) -> JournalStorage:
    """The storage behind a journal file, made where it is absent. A last line that was cut short is taken off.

    Args:
        reading: leave the file as it is, also where it ends in a part of a line.
    """
    lock = OwnedLock(path)
    backend = JournalFileBackend(str(path), lock_obj=lock)
    if reading:
        return JournalStorage(backend)
    lock.acquire()
    try:
        _mend(path)
    finally:
        lock.release()
    return JournalStorage(backend)


def _mend(path: Path) -> None:
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)

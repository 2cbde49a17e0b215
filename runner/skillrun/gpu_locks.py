"""One file lock per GPU, for the whole host, so that two launches never take the same GPU.

The lock is a `flock` of an open file: it lives as long as any process has that open file, so a launcher hands it to
the process that keeps the run (``pass_fds``) and may end. A killed process never leaves a lock behind. The files stay;
what they say (who holds the GPU) counts only while they are locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from skillrun.errors import BackendError

FOLDER_VARIABLE = "SKILLRUN_GPU_LOCKS"
FOLDER_NAME = "skillrun-gpus"
PLACES = (Path("/run/lock"), Path("/tmp"))
GATE = "choosing"
GATE_PATIENCE_S = 10.0
LONGEST_NOTE = 1024


def folder() -> Path:
    """The folder of the locks, made where it is absent; every user of the host may write there.

    ``SKILLRUN_GPU_LOCKS``, else ``/run/lock/skillrun-gpus``, else ``/tmp/skillrun-gpus`` (never ``TMPDIR``, which
    may differ between users).

    Raises:
        BackendError: there is no such folder that this user may use.
    """
    own = os.environ.get(FOLDER_VARIABLE)
    wanted = [Path(own).expanduser()] if own else [place / FOLDER_NAME for place in PLACES]
    for place in wanted:
        with contextlib.suppress(OSError):
            if not place.is_symlink():
                _make(place)
            if stat.S_ISDIR(place.lstat().st_mode) and os.access(place, os.W_OK | os.X_OK):
                return place
    raise BackendError(
        "E_GPU_LOCKS",
        f"no folder for GPU locks: {' and '.join(str(place) for place in wanted)} can not be used by this user",
        f"export {FOLDER_VARIABLE}=DIR, the same for every user of this host",
    )


def _make(place: Path) -> None:
    with contextlib.suppress(FileExistsError):
        place.mkdir()
        place.chmod(0o1777)


@contextlib.contextmanager
def choosing() -> Iterator[None]:
    """Only one launch of this host chooses at a time: two that want two GPUs each never end with one each.

    After 10 s the choice goes on without: the locks of the GPUs are what is relied upon.
    """
    link = _open(GATE)
    try:
        deadline = time.monotonic() + GATE_PATIENCE_S
        while not _lock(link) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield
    finally:
        os.close(link)


def take(uuid: str, run_id: str) -> int | None:
    """Lock a GPU for a run; the open file's number, or None where another launch holds it. Only while `choosing`."""
    link = _open(uuid)
    if not _lock(link):
        os.close(link)
        return None
    note = json.dumps({"run": run_id, "user": _user(), "pid": os.getpid()})
    with contextlib.suppress(OSError):  # another user's file may be for reading only: locked it is all the same
        os.ftruncate(link, 0)
        os.pwrite(link, note.encode(), 0)
    return link


def holder(uuid: str) -> str:
    """Who holds a GPU, e.g. ``run 261120-223612-train-4f1c of alice``; empty for nobody. Only while `choosing`."""
    link = _open(uuid)
    try:
        return "" if _lock(link) else _read_note(link)
    finally:
        os.close(link)


def _read_note(link: int) -> str:
    try:
        note = json.loads(os.pread(link, LONGEST_NOTE, 0))
        parts = [str(note["run"]), str(note["user"]), str(note["pid"])]
    except (OSError, ValueError, KeyError, TypeError):
        return "another skillrun run"
    run, user, pid = ("".join(letter for letter in part if letter.isprintable()) for part in parts)
    return f"run {run} of {user}" if run else f"a launch of {user} (pid {pid})"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _lock(link: int) -> bool:
    try:
        fcntl.flock(link, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(name: str) -> int:
    """Open a lock file, never through a link, made first where it is absent.

    Opened without O_CREAT, which kernels refuse for other users' files in a folder like /tmp (``protected_regular``).
    """
    path = folder() / f"{re.sub(r'[^A-Za-z0-9-]', '_', name)}.lock"
    with contextlib.suppress(FileNotFoundError):
        return _open_there(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    made = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
    try:
        os.fchmod(made, 0o666)  # before others can see it, whatever the umask
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        os.close(made)
        aside.unlink()
    return _open_there(path)


def _open_there(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        link = os.open(path, os.O_RDWR | flags)
    except PermissionError:
        link = os.open(path, os.O_RDONLY | flags)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise _unusable(path, error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(link).st_mode):
        os.close(link)
        raise _unusable(path, "not a plain file")
    return link


def _unusable(path: Path, reason: str) -> BackendError:
    return BackendError("E_GPU_LOCKS", f"the lock file {path} can not be used: {reason}", f"sudo rm {path}")

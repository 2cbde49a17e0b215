"""Weights on disk: ``<sha256>/<name>`` for files that are whole, and beside them what is under way.

``index/<key>.json`` remembers what a source gave, ``<key>.part`` holds the bytes so far, ``<key>.lock`` lets one
process fetch a source; the key is a hash of the source's text. All names in it are relative: the folder can be carried
to another host.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from skillrun.datasets import cache_root
from skillrun.errors import PreflightError
from skillrun.runfolder import give_to_folders_owner, read_json, write_atomic

CHUNK = 1 << 20  # bytes
LOCK_POLL_S = 0.2
_BUSY = (errno.EACCES, errno.EAGAIN)


@dataclass(frozen=True)
class Kept:
    """What a source gave.

    Attributes:
        source: its text, without secrets.
        revision: the commit, or what a web server calls this version of the file.
        etag: the server's name of the content.
        sha256: 64 hex digits; ``name``: the file's name; ``size``: bytes.
    """

    source: str
    revision: str
    etag: str
    sha256: str
    name: str
    size: int


def folder() -> Path:
    """Where staged weights are kept. It may be absent, or be carried here and closed to writing."""
    return cache_root().absolute() / "weights"


@contextmanager
def as_cache_trouble(path: Path, code: str = "E_STAGE_CACHE", cache: str = "the weights' cache") -> Iterator[None]:
    """A refusal of the file system as an error with a fix."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path, 0) from error
        raise PreflightError(
            code,
            f"{cache} {str(path)!r} can not be used: {error.strerror or error}",
            "choose another with SKILLRUN_CACHE=DIR, or change its permissions",
        ) from error


def disk_full(path: Path, needed: int) -> PreflightError:
    """The error for a disk without room; ``needed`` is in bytes, 0 where it is not known."""
    with_need = f" for {needed / 1e6:.0f} MB more" if needed else ""
    return PreflightError(
        "E_STAGE_DISK_FULL",
        f"the disk of {str(path)!r} has no room{with_need}",
        "free some space and type the same again (what has arrived is kept), or SKILLRUN_CACHE=DIR on another disk",
    )


def key_of(text: str) -> str:
    """The name of a source's files."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def path_of(root: Path, kept: Kept) -> Path:
    """Where a kept file is."""
    return root / kept.sha256 / kept.name


def recall(root: Path, text: str) -> Kept | None:
    """What a source gave, where the file is still there with its content; a damaged file is forgotten."""
    record = read_json(root / "index" / f"{key_of(text)}.json")
    try:
        kept = Kept(**record) if record else None
    except TypeError:
        return None
    return kept if kept and is_whole(root, kept) else None


def is_whole(root: Path, kept: Kept) -> bool:
    """Whether the file is there and has the size and the hash; a file that has not is removed."""
    path = path_of(root, kept)
    if not path.is_file():
        return False
    if path.stat().st_size == kept.size and remembered_sha256(path, root) == kept.sha256:
        return True
    with contextlib.suppress(OSError):  # a cache that can not be written
        path.unlink(missing_ok=True)
    return False


def remember(root: Path, text: str, kept: Kept) -> None:
    """So that the source is found again without a request."""
    with as_cache_trouble(root):
        write_atomic(root / "index" / f"{key_of(text)}.json", json.dumps(asdict(kept), indent=1) + "\n")


def take_in(root: Path, part: Path, kept: Kept) -> Path:
    """Move a verified part to its place, read-only; readers see all of it or nothing."""
    place = path_of(root, kept)
    with as_cache_trouble(place):
        place.parent.mkdir(exist_ok=True)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.chmod(0o444)
        give_to_folders_owner(part)
        part.replace(place)
        _note_hash(place, root, kept.sha256)
    return place


def remembered_sha256(path: Path, root: Path) -> str:
    """The sha256 of a file, computed once for its size and time of change (ns)."""
    found = path.stat()
    record = read_json(_hash_note(path, root)) or {}
    if record.get("size") == found.st_size and record.get("mtime_ns") == found.st_mtime_ns:
        return str(record.get("sha256"))
    digest = sha256_of(path).hexdigest()
    with contextlib.suppress(OSError):  # a cache that can not be written costs time only
        _note_hash(path, root, digest)
    return digest


def sha256_of(path: Path, limit: int | None = None) -> hashlib._Hash:
    """The hash of a file, or of its first ``limit`` bytes; can be continued."""
    digest, left = hashlib.sha256(), limit if limit is not None else path.stat().st_size
    with path.open("rb") as stream:
        while left > 0 and (block := stream.read(min(CHUNK, left))):
            digest.update(block)
            left -= len(block)
    return digest


def git_sha1_of(path: Path) -> str:
    """What git calls the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _hash_note(path: Path, root: Path) -> Path:
    return root / "index" / f"{key_of(str(path))}.hash.json"


def _note_hash(path: Path, root: Path, digest: str) -> None:
    found = path.stat()
    note = {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": digest}
    (root / "index").mkdir(parents=True, exist_ok=True)
    write_atomic(_hash_note(path, root), json.dumps(note) + "\n")


@contextmanager
def alone(root: Path, text: str, waiting: Callable[[], None]) -> Iterator[None]:
    """One process at a time; the lock ends with the process. ``waiting`` is called while another has it."""
    path = root / f"{key_of(text)}.lock"
    with as_cache_trouble(root):
        (root / "index").mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        while not _try_lock(descriptor, path):
            waiting()
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, path: Path) -> bool:
    with as_cache_trouble(path):
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

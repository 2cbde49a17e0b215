"""Bytes of a remote file into a part on disk: one try, which continues where an earlier one, or process, stopped."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from skillrun.errors import BackendError
from skillrun.progress import Progress
from skillrun.runfolder import read_json, write_atomic
from skillrun.staging import store
from skillrun.staging.refusals import Answer, TryAgain, raise_refused, unreachable
from skillrun.staging.sources import HubFile, WebFile

if TYPE_CHECKING:
    from httpx2 import Response

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 15.0, 60.0
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Remote:
    """What a server has.

    Attributes:
        url, headers: the request for the bytes; ``headers`` may hold a token.
        revision: the commit; empty for an address until its answer names a version.
        etag: the server's name of the content; None where only the answer to the request says it.
        size: bytes, where it is known.
        sha256, git_sha1: the declared hash, where there is one.
    """

    url: str
    headers: dict[str, str] = field(repr=False)
    revision: str
    etag: str | None
    size: int | None
    sha256: str | None = None
    git_sha1: str | None = None
    with_token: bool = False


@dataclass(frozen=True)
class Part:
    """The bytes so far, and beside them of which content they are."""

    path: Path

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def etag(self) -> str:
        return str((read_json(self.note) or {}).get("etag") or "") if self.path.exists() else ""

    def begin(self, etag: str) -> None:
        """Forget what was there; from now on the bytes are those of ``etag``."""
        self.path.open("wb").close()
        write_atomic(self.note, json.dumps({"etag": etag}) + "\n")

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def receive(source: HubFile | WebFile, remote: Remote, part: Part, show: Callable[[Progress], None]) -> Remote:
    """Fetch what is missing and check the whole; the part is then complete.

    Returns:
        The remote with what its answer added: size, etag and sha256 of the content.

    Raises:
        TryAgain: the connection ended, 429, 5xx, or a continued part that is not what was declared (it is dropped).
        BackendError: a whole download of other content than declared. PreflightError: no room on the disk.
    """
    import httpx2

    try:
        got = _get(source, remote, part, show)
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise TryAgain(unreachable(source, str(error) or type(error).__name__)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise store.disk_full(part.path.parent, (remote.size or part.size) - part.size) from error
        with store.as_cache_trouble(part.path):
            raise
    return got


def _get(source: HubFile | WebFile, remote: Remote, part: Part, show: Callable[[Progress], None]) -> Remote:
    import httpx2
    from huggingface_hub import get_session

    have = part.size if part.etag and remote.etag in (None, part.etag) else 0
    if remote.size is not None:
        _room_for(remote.size - have, part.path.parent)
        if have == remote.size:
            return _checked(source, remote, part, store.sha256_of(part.path), continued=True)
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if remote.etag is None:
            headers["If-Range"] = part.etag
    timeout = httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    with get_session().stream("GET", remote.url, headers=headers, timeout=timeout, follow_redirects=True) as response:
        start = _accept(source, remote, part, response, have)
        known = _named_by(response, remote, start, part.etag)
        _room_for((known.size or start) - start, part.path.parent)
        if start == 0:
            part.begin(known.etag or "")
        digest = _write(response, known, part, start, show)
    return _checked(source, known, part, digest, continued=start > 0)


def _accept(source: HubFile | WebFile, remote: Remote, part: Part, response: Response, have: int) -> int:
    """Where the answer's bytes begin; a server that ignores the range begins at 0."""
    if response.status_code == 206:
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        same = remote.etag is not None or version_of(response) in ("", part.etag)
        if found and int(found[1]) == have and same:
            return have
    elif response.status_code == 200:
        return 0
    elif response.status_code != 416:
        raise_refused(source, Answer(response.status_code, response.headers, remote.with_token))
    part.drop()  # what we have and what the server has do not fit: from the start
    raise TryAgain(unreachable(source, f"it answers {response.status_code} to a request for the rest"), 0)


def _named_by(response: Response, remote: Remote, start: int, part_etag: str) -> Remote:
    """Fill in what the answer says where nothing was declared before."""
    length = response.headers.get("content-length", "")
    encoded = response.headers.get("content-encoding", "identity") != "identity"
    size = start + int(length) if length.isdecimal() and not encoded else None
    version = version_of(response) or (part_etag if start else "")
    return replace(
        remote,
        size=remote.size if remote.size is not None else size,
        etag=remote.etag if remote.etag is not None else version,
        revision=remote.revision or version.removeprefix("W/").strip('"'),
    )


def version_of(response: Response) -> str:
    """What an answer calls this version of its content; empty where it has no name for it."""
    return str(response.headers.get("etag") or response.headers.get("last-modified") or "")


def _write(
    response: Response, remote: Remote, part: Part, start: int, show: Callable[[Progress], None]
) -> hashlib._Hash:
    if start:
        show(Progress("checking", start, remote.size or 0))
    digest, done = store.sha256_of(part.path, start), start
    with part.path.open("ab", buffering=0) as stream:
        for (
            block
        ) in response.iter_raw():  # as they come: with a chunk size, a dropped connection would lose the last one
            view = memoryview(block)
            while view:
                view = view[stream.write(view) :]
            digest.update(block)
            done += len(block)
            show(Progress("downloading", done, remote.size or 0))
            if remote.size is not None and done > remote.size:
                break  # the check says it
    return digest


def _checked(
    source: HubFile | WebFile, remote: Remote, part: Part, digest: hashlib._Hash, *, continued: bool
) -> Remote:
    size, sha256 = part.size, digest.hexdigest()
    if remote.size is not None and size < remote.size:
        raise TryAgain(unreachable(source, f"it ended the answer at {size} of {remote.size} bytes"))
    wrong = _difference(remote, part, size, sha256)
    if not wrong:
        return replace(remote, size=size, sha256=sha256)
    part.drop()
    error = BackendError(
        "E_STAGE_HASH",
        f"{source.text}: the bytes that arrived are not the file: {wrong}",
        "type the same again; if it stays so, a proxy or mirror alters the file (HTTPS_PROXY, HF_ENDPOINT)",
    )
    if continued:
        raise TryAgain(error, 0)
    raise error


def _difference(remote: Remote, part: Part, size: int, sha256: str) -> str:
    if remote.size is not None and size != remote.size:
        return f"{size} bytes arrived and {remote.size} were declared"
    if remote.sha256 and sha256 != remote.sha256:
        return f"sha256 {sha256}, declared {remote.sha256}"
    if remote.git_sha1 and store.git_sha1_of(part.path) != remote.git_sha1:
        return f"their git hash is not the declared {remote.git_sha1}"
    return ""


def _room_for(needed: int, folder: Path) -> None:
    if needed > shutil.disk_usage(folder).free:
        raise store.disk_full(folder, needed)

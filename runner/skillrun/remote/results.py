"""What a run left, sent to a store at its end."""

from __future__ import annotations

import os
import secrets
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skillrun.errors import BackendError, NotFoundError, PreflightError, SkillrunError, UsageError
from skillrun.progress import Progress
from skillrun.remote.connection import Remote, connected, plain
from skillrun.remote.content import same_content
from skillrun.remote.listing import Item, found
from skillrun.remote.parallel import Work
from skillrun.remote.troubles import explained, patiently
from skillrun.runfolder import RunFolder

THREADS = 4  # each holds up to 100 MB of its file
TRIES = 3  # of one part of a large file
MARKER = b"skillrun looks whether it may write here\n"


@dataclass(frozen=True)
class Uploaded:
    """What is there now.

    Attributes:
        files, bytes: of the whole run.
        url: where, without secrets.
        sent: how many files this call has sent; the others were there.
        left_out: names of links that lead out of the run's folder, or nowhere.
    """

    files: int
    bytes: int
    url: str
    sent: int
    left_out: tuple[str, ...]


def upload(folder: Path, url: str, show: Callable[[Progress], None]) -> Uploaded:
    """Send a run's folder to ``<url>/<run id>/``; nothing here is changed.

    Files that are there with the same size and hash are not sent again; stores that tell no hash get all of them. The
    run's ``result.json`` is sent when all others have arrived whole, and taken away before others are replaced, so
    where it stands, everything does.

    Args:
        folder: the run's folder; its name is the run id. It must be at rest.
        url: an address of fsspec, a folder.
        show: called with the progress, by one thread at a time.

    Raises:
        BackendError: ``E_RESULTS_UPLOAD``, with the command that repeats it. UsageError: ``E_REMOTE_URL``.
        NotFoundError: ``E_RUN_NOT_FOUND``, no such folder, or an empty one.
    """
    files, left_out = _files(folder)
    if not files:
        raise NotFoundError("E_RUN_NOT_FOUND", f"{str(folder)!r} holds nothing to send", "skillrun runs list")
    target = f"{url.rstrip('/')}/{folder.name}"
    try:
        _check_readable(files)
        with connected(target, tries=TRIES) as remote:
            sent = _send(remote, files, show)
    except UsageError:
        raise
    except SkillrunError as error:
        raise _failed(folder, url, error) from error
    return Uploaded(len(files), sum(path.stat().st_size for path in files.values()), plain(target), sent, left_out)


def check_target(url: str) -> None:
    """Whether a run may leave its results there: sends a small object, looks for it, and removes it.

    Raises:
        UsageError, PreflightError, CredentialsError, NotFoundError, BackendError: as ``fetch`` raises them.
    """
    with connected(f"{url.rstrip('/')}/.skillrun-probe-{secrets.token_hex(4)}") as remote:
        patiently(lambda: _probe(remote, plain(url)), lambda: 0, Work("checking", 0, lambda progress: None).pause)


def _probe(remote: Remote, address: str) -> None:
    with tempfile.TemporaryDirectory() as folder, explained(address):
        marker = Path(folder) / "marker"
        marker.write_bytes(MARKER)
        remote.fs.put_file(str(marker), remote.root)
        remote.fs.invalidate_cache()
        try:
            seen = remote.fs.find(remote.root, detail=True)
        finally:
            remote.fs.rm_file(remote.root)
    if [info["size"] for info in seen.values()] != [len(MARKER)]:
        text = f"{address}: what is written there can not be found again"
        raise BackendError("E_RESULTS_TARGET", text, "name another folder with --results")


def _files(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Names below the folder with their files, and the links that can not be sent."""
    root, files, left_out = folder.resolve(), {}, []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path == RunFolder(folder).keeper_lock:
            continue
        if path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(root)):
            left_out.append(name)
        elif path.is_file():
            files[name] = path
    return files, tuple(left_out)


def _check_readable(files: dict[str, Path]) -> None:
    for path in files.values():
        if not os.access(path, os.R_OK):
            raise PreflightError(
                "E_RESULTS_READ", f"{str(path)!r} can not be read", f"chmod u+r {shlex.quote(str(path))}"
            )


def _send(remote: Remote, files: dict[str, Path], show: Callable[[Progress], None]) -> int:
    """Send what is missing; returns how many files that were."""
    last, pause = RunFolder(Path()).result.name, Work("listing", 0, show).pause
    missing = patiently(lambda: _missing(remote, files, show, hash_needed=True), lambda: 0, pause)
    proof = {last: missing.pop(last)} if last in missing else {}
    if missing:
        patiently(lambda: _remove(remote, last), lambda: 0, pause)
        _put_whole(remote, missing, show)
        proof = {last: files[last]} if last in files else {}
    _put_whole(remote, proof, show)
    return len(missing) + len(proof)


def _put_whole(remote: Remote, files: dict[str, Path], show: Callable[[Progress], None]) -> None:
    """Send these, and look whether they are there as they were sent."""
    if not files:
        return
    _put(remote, files, show)
    pause = Work("listing", 0, show).pause
    wrong = patiently(lambda: _missing(remote, files, show, hash_needed=False), lambda: 0, pause)
    if wrong:
        text = f"{remote.address}: {min(wrong)!r} is not there as it was sent ({len(wrong)} of {len(files)} files)"
        raise BackendError("E_RESULTS_UPLOAD", text, "", retryable=True)


def _missing(
    remote: Remote, files: dict[str, Path], show: Callable[[Progress], None], *, hash_needed: bool
) -> dict[str, Path]:
    """The files that are not there with the same content; ``hash_needed``: an equal size alone proves nothing."""
    there = {item.name: item for item in _found(remote)}
    total, done, missing = sum(path.stat().st_size for path in files.values()), 0, {}
    for name, path in files.items():
        same = same_content(remote, there[name], path) if name in there else False
        if same is False or (same is None and hash_needed):
            missing[name] = path
        done += path.stat().st_size
        show(Progress("checking", done, total))
    return missing


def _found(remote: Remote) -> list[Item]:
    """What is at the target; nothing, where there is no such folder yet."""
    try:
        return found(remote)
    except NotFoundError:
        return []


def _remove(remote: Remote, name: str) -> None:
    if name in {item.name for item in _found(remote)}:
        with explained(remote.address):
            remote.fs.rm_file(f"{remote.root}/{name}")


def _put(remote: Remote, files: dict[str, Path], show: Callable[[Progress], None]) -> None:
    from fsspec.callbacks import Callback

    sizes = {name: path.stat().st_size for name, path in files.items()}
    work = Work("uploading", sum(sizes.values()), show)

    def one(name: str) -> None:
        def tell(size: int | None, value: int, **_: object) -> None:
            work.at(name, min(value, sizes[name]))

        def attempt() -> None:
            with explained(f"{remote.address}: {name}"):
                remote.fs.put_file(str(files[name]), f"{remote.root}/{name}", callback=Callback(hooks={"sent": tell}))
            work.at(name, sizes[name])

        patiently(attempt, lambda: 0, work.pause)

    work.each(files, one, THREADS)


def _failed(folder: Path, url: str, error: SkillrunError) -> BackendError:
    again = f"skillrun runs upload {shlex.quote(folder.name)} {shlex.quote(plain(url))}"
    return BackendError(
        "E_RESULTS_UPLOAD",
        f"the results of {folder.name} were not sent; they are whole in {str(folder)!r}: {error.message}",
        f"{error.fix}; then: {again}" if error.fix else again,
        retryable=True,
    )

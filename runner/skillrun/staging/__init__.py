"""Weights arrive once, verified and resumable, and are found again without a network.

The hub's library resolves names, revisions and tokens; the download is ours, because it goes on after the process has
died and believes nothing before the hash is right.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from skillrun.errors import NotFoundError, PreflightError, SkillrunError
from skillrun.progress import Progress
from skillrun.staging import store
from skillrun.staging.patience import patiently
from skillrun.staging.sources import CatalogueFile, HubFile, LocalFile, StoreFile, WebFile, parse
from skillrun.staging.store import Kept
from skillrun.staging.transfer import Part, Remote, receive

__all__ = ["Progress", "Staged", "bring", "offline_asked", "pin", "stage"]

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # between tries that bring no new byte
QUESTION_WAITS_S = (0.5, 1.0)  # where nothing but a question would be lost


@dataclass(frozen=True)
class Staged:
    """A file that is whole and known.

    Attributes:
        path: absolute, on this host. Of a pinned file it is the place where ``bring`` puts it.
        source: what was asked for, in its one spelling and without secrets; ``hf://...@<commit>`` once it is pinned.
        revision: the commit on the hub; what a web server calls this version; empty for a local file.
        sha256: 64 hex digits; ``size``: bytes.
        asked: of a pinned file the source before it was pinned, e.g. with a branch for its revision; else empty.
    """

    path: Path
    source: str
    revision: str
    sha256: str
    size: int
    asked: str = ""

    def to_json(self) -> dict[str, Any]:
        """For plans, results and ``--json``."""
        return {**asdict(self), "path": str(self.path)}


def offline_asked() -> bool:
    """Whether the environment forbids requests."""
    return any(os.environ.get(name, "").strip().upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE_VARIABLES)


def stage(source: str, *, offline: bool = False, show: Callable[[Progress], None]) -> Staged:
    """A source's file on this host, fetched where it is not yet there.

    Args:
        source: ``hf://org/repo/file[@revision]``, ``org/repo`` (its ``model.safetensors``), an address of the web or
            of a store, ``ngc://org/team/model:version[/file]``, or a path.
        offline: no request at all; also where ``HF_HUB_OFFLINE`` asks for that.
        show: called with the progress, several times a second.

    Raises:
        UsageError: no source is written so. NotFoundError: no such file (``E_STAGE_FILE``, ``E_HUB_NOT_FOUND``), or not
        yet here (``E_STAGE_OFFLINE``). CredentialsError: no token, licence not accepted, token refused.
        PreflightError: no room on the disk. BackendError: rate limit, no answer, wrong content.
    """
    wanted = parse(source)
    root = store.folder()
    offline = offline or offline_asked()
    if isinstance(wanted, LocalFile):
        return _as_it_is(root, wanted.path, str(wanted.path))
    if isinstance(wanted, StoreFile):
        from skillrun.staging.clients import from_store

        return _as_it_is(root, from_store(wanted, offline=offline, show=show), wanted.text)
    kept = _settled(root, wanted, offline=offline) or _brought(root, wanted, show)
    return _staged(root, wanted, kept)


def _as_it_is(root: Path, path: Path, source: str) -> Staged:
    """A file that is kept elsewhere."""
    with store.as_cache_trouble(path):
        return Staged(path, source, "", store.remembered_sha256(path, root), path.stat().st_size)


def _brought(root: Path, wanted: HubFile | WebFile | CatalogueFile, show: Callable[[Progress], None]) -> Kept:
    part = Part(root / f"{store.key_of(_key(wanted))}.part")
    with store.alone(root, _key(wanted), lambda: show(Progress("waiting for another process", part.size, 0))):
        if isinstance(wanted, CatalogueFile):
            from skillrun.staging.clients import from_catalogue

            return store.recall(root, wanted.text) or from_catalogue(wanted, root, show)
        return patiently(
            lambda: _fetch(root, wanted, part, show), lambda: part.size, partial(_pause, show, part), WAITS_S
        )


def pin(source: str, *, offline: bool = False, show: Callable[[Progress], None]) -> Staged:
    """What a source is now: the commit, the hash, and where ``bring`` will put the file.

    The bytes of a file on the hub are not fetched where the hub declares their hash; of everything else only the bytes
    tell what it is, so they are. Arguments and errors as for ``stage``.
    """
    wanted = parse(source)
    if not isinstance(wanted, HubFile):
        return stage(source, offline=offline, show=show)
    root = store.folder()
    kept = _settled(root, wanted, offline=offline or offline_asked()) or _declared(wanted, show)
    if kept is None:
        return stage(source, offline=offline, show=show)
    return replace(_staged(root, replace(wanted, revision=kept.revision), kept), asked=wanted.text)


def bring(pinned: Staged, *, offline: bool = False, show: Callable[[Progress], None]) -> None:
    """Put a pinned file at its place, where it is not yet there. Errors as for ``stage``.

    Without a network it is then found by its commit and by what was asked for.
    """
    fetched = not pinned.path.is_file()
    if fetched:
        stage(pinned.source, offline=offline, show=show)
    root = store.folder()
    for text in (pinned.source, pinned.asked) if pinned.asked else ():
        # An old plan that finds its file here says nothing about where a branch stands now.
        if fetched or store.recall(root, text) is None:
            _name(root, text, pinned)


def _name(root: Path, text: str, pinned: Staged) -> None:
    kept = Kept(text, pinned.revision, pinned.sha256, pinned.sha256, pinned.path.name, pinned.size)
    with contextlib.suppress(PreflightError):  # a cache that can not be written costs a request later
        store.remember(root, text, kept)


def _staged(root: Path, source: HubFile | WebFile | CatalogueFile, kept: Kept) -> Staged:
    return Staged(store.path_of(root, kept), source.text, kept.revision, kept.sha256, kept.size)


def _declared(source: HubFile, show: Callable[[Progress], None]) -> Kept | None:
    """What the hub says of a file; None where it declares no hash."""
    from skillrun.staging import hub

    remote = patiently(lambda: hub.describe(source), int, partial(_pause, show, None), QUESTION_WAITS_S)
    if remote.sha256 is None or remote.size is None:
        return None
    return _kept(source, remote, remote.sha256, remote.size)


def _key(source: HubFile | WebFile | CatalogueFile) -> str:
    """What tells sources apart: an address with its query, which ``text`` leaves out."""
    return source.url if isinstance(source, WebFile) else source.text


def _settled(root: Path, source: HubFile | WebFile | CatalogueFile, *, offline: bool) -> Kept | None:
    """A file that needs no question: offline, or a commit or catalogue version, whose content never changes.

    Raises NotFoundError: offline, and the file is not here.
    """
    from skillrun.staging.hub import COMMIT

    pinned = isinstance(source, CatalogueFile)
    pinned = pinned or (isinstance(source, HubFile) and bool(COMMIT.fullmatch(source.revision)))
    kept = store.recall(root, _key(source)) if offline or pinned else None
    if offline and kept is None:
        raise NotFoundError(
            "E_STAGE_OFFLINE",
            f"{source.text} has not been staged here, and requests are switched off",
            f"on a host with a network: skillrun stage {source.text}; then copy its cache to {root}",
        )
    return kept


def _fetch(root: Path, source: HubFile | WebFile, part: Part, show: Callable[[Progress], None]) -> Kept:
    """One try: ask what there is, take what is here, fetch the rest. Raises TryAgain and what ``receive`` raises."""
    from skillrun.staging import hub, web

    if isinstance(source, HubFile):
        remote = hub.describe(source)
        earlier = _already_here(root, source, remote)
    else:
        remote, earlier = web.describe(source), store.recall(root, source.url)
        if earlier and not web.is_current(source, earlier):
            earlier = None
    if earlier is None:
        got = receive(source, remote, part, show)
        earlier = _kept(source, got, got.sha256 or "", got.size or 0)
        store.take_in(root, part.path, earlier)
        part.drop()
    _remember(root, source, earlier)
    return earlier


def _already_here(root: Path, source: HubFile, remote: Remote) -> Kept | None:
    """A whole file of the declared content; its name of the revision is the hub's present one."""
    earlier = store.recall(root, source.text)
    if earlier and earlier.etag and earlier.etag == remote.etag:
        return _kept(source, remote, earlier.sha256, earlier.size)
    if remote.sha256 and remote.size is not None:
        same = _kept(source, remote, remote.sha256, remote.size)
        return same if store.is_whole(root, same) else None
    return None


def _kept(source: HubFile | WebFile, remote: Remote, sha256: str, size: int) -> Kept:
    return Kept(source.text, remote.revision, remote.etag or "", sha256, source.name, size)


def _remember(root: Path, source: HubFile | WebFile, kept: Kept) -> None:
    store.remember(root, _key(source), kept)
    if isinstance(source, HubFile) and kept.revision != source.revision:  # a plan asks for the commit later
        store.remember(root, HubFile(source.repo, source.file, kept.revision).text, kept)


def _pause(show: Callable[[Progress], None], part: Part | None, wait: float, error: SkillrunError) -> None:
    show(Progress(f"{error.message}; next try in {wait:.0f} s", part.size if part else 0, 0))
    time.sleep(wait)

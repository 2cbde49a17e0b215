"""A data set behind an address, as a folder of this host: listed once, fetched where it is missing or has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from skillrun.errors import BackendError, NotFoundError
from skillrun.progress import Progress
from skillrun.remote.connection import Remote, connected, plain
from skillrun.remote.content import same_content
from skillrun.remote.listing import Item, data_set, found, item_of
from skillrun.remote.parallel import Work
from skillrun.remote.place import Place
from skillrun.remote.troubles import as_cache_trouble, explained, patiently, unreachable
from skillrun.staging import store
from skillrun.staging.refusals import TryAgain

THREADS = 8
BLOCK = 4 << 20  # bytes of one request


def fetch(url: str, cache: Path, *, offline: bool, show: Callable[[Progress], None]) -> Path:
    """A folder of a store, or one object, on this host.

    The store is listed once. Objects of the same name, size and version as before are not asked for again; others are
    fetched, several at a time, each continued where an earlier process stopped, and compared with the store's hash
    where it has one (``content`` tells when). Objects that have vanished from the store are not in the folder. Stores
    without etags tell versions by the time of change, which many give in whole seconds.

    Args:
        url: an address of fsspec; a name that is both an object and a folder is read as the folder.
        cache: the content cache; what is fetched lies in ``data/<key of the address>/``.
        offline: no request at all; the newest whole state of the data set is used.
        show: called with the progress, by one thread at a time.

    Returns:
        The folder, or the file of a single object; absolute, read-only, and never changed by a later call.

    Raises:
        UsageError: ``E_REMOTE_URL``. PreflightError: no client, no room on the disk, a cache that can not be written.
        CredentialsError: no credentials, or they do not open this. NotFoundError: no such bucket, folder or object, or
        ``E_REMOTE_OFFLINE``. DataError: an empty folder, or an object whose name can be no file's.
        BackendError: no answer, wrong content (``E_REMOTE_HASH``), or changed meanwhile (``E_REMOTE_CHANGED``).
    """
    root = cache.expanduser().absolute() / "data"
    key = url.rstrip("/")
    place = Place(root / store.key_of(key))
    if offline:
        return _without_requests(place, url)
    with as_cache_trouble(place.base):
        place.base.mkdir(parents=True, exist_ok=True)
    with store.alone(root, key, lambda: show(Progress("waiting for another process", 0, 0))), connected(url) as remote:
        with as_cache_trouble(place.base):
            place.open()
        pause = Work("listing", 0, show).pause
        items = patiently(lambda: data_set(remote, found(remote)), lambda: 0, pause)
        _bring(remote, [item for item in items if not place.has(item)], place, show)
        with as_cache_trouble(place.base):
            return place.settle(items, remote.address, single=items[0].key == remote.root)


def _without_requests(place: Place, url: str) -> Path:
    with as_cache_trouble(place.base):
        newest = place.newest()
    if newest is None:
        raise NotFoundError(
            "E_REMOTE_OFFLINE",
            f"{plain(url)} is not whole in this host's cache, and requests are switched off",
            f"once with a network, without --offline; or copy {place.base} from a host that has it",
        )
    return newest


def _bring(remote: Remote, items: Sequence[Item], place: Place, show: Callable[[Progress], None]) -> None:
    """Fetch these objects into the pool."""
    with as_cache_trouble(place.pool):
        here = {item.key: _part_size(place.part(item)) for item in items}
        free = shutil.disk_usage(place.pool).free
    needed = sum(max(0, item.size - here[item.key]) for item in items)
    if needed > free:
        raise store.disk_full(place.pool, needed)
    work = Work("downloading", sum(item.size for item in items), show)
    for item in items:
        work.at(item.key, min(here[item.key], item.size))

    def one(item: Item) -> None:
        part = place.part(item)
        patiently(lambda: _receive(remote, item, part, work), lambda: _part_size(part), work.pause)
        with as_cache_trouble(part):
            place.take_in(item)

    work.each(items, one, THREADS)


def _receive(remote: Remote, item: Item, part: Path, work: Work) -> None:
    """One try: the bytes that are missing, then the check of the whole."""
    with as_cache_trouble(part):
        have = _part_size(part)
        if have > item.size:
            part.unlink()
            have = 0
        continued = have > 0
        with part.open("ab", buffering=0) as stream:
            while have < item.size:
                block = _block(remote, item, have)
                view = memoryview(block)
                while view:
                    view = view[stream.write(view) :]
                have += len(block)
                work.at(item.key, have)
        same = same_content(remote, item, part)
    if same is None:
        _check_unchanged(remote, item)
    if same is not False:
        return
    _refuse(remote, item, part, work, continued=continued)


def _block(remote: Remote, item: Item, start: int) -> bytes:
    end = min(start + BLOCK, item.size)
    address = f"{remote.address}: {item.name}"
    with explained(address):
        block: bytes = remote.fs.cat_file(item.key, start=start, end=end)
    if len(block) > end - start:
        raise _changed(remote, item)
    if not block:
        raise TryAgain(unreachable(address, f"it ended the answer at {start} of {item.size} bytes"))
    return block


def _refuse(remote: Remote, item: Item, part: Path, work: Work, *, continued: bool) -> None:
    """Drop wrong bytes; raises TryAgain where an earlier process may have left them, else the error."""
    with as_cache_trouble(part):
        part.unlink()
    work.at(item.key, 0)
    _check_unchanged(remote, item)
    error = BackendError(
        "E_REMOTE_HASH",
        f"{remote.address}: the bytes that arrived are not the object {item.name!r}: the md5 of its etag is another",
        "type the same again; if it stays so, a proxy alters the bytes, or the object is damaged: send it anew",
    )
    if continued:
        raise TryAgain(error, 0)
    raise error


def _check_unchanged(remote: Remote, item: Item) -> None:
    """Raises BackendError where the object is no longer the one that was listed."""
    with explained(f"{remote.address}: {item.name}"):
        remote.fs.invalidate_cache()
        info = remote.fs.info(item.key)
    now = item_of(remote, {**info, "name": item.key})
    if (now.size, now.version) != (item.size, item.version):
        raise _changed(remote, item)


def _changed(remote: Remote, item: Item) -> BackendError:
    return BackendError(
        "E_REMOTE_CHANGED",
        f"{remote.address}: the object {item.name!r} was changed while it was fetched",
        "type the same again when nobody writes there; what has arrived is kept",
        retryable=True,
    )


def _part_size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0

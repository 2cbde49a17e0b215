"""The one way to a store: fsspec's file system for an address, opened for one job and closed after it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skillrun.errors import PreflightError, UsageError
from skillrun.remote.troubles import explained
from skillrun.staging.refusals import TryAgain

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from fsspec import AbstractFileSystem

S3 = ("s3", "s3a")
CLOSE_TIMEOUT_S = 5.0
# A single try for each request: the waits and tries are ours. Parts of one large object are sent two at a time.
_OPTIONS: dict[str, dict[str, Any]] = {
    **{scheme: {"config_kwargs": {"retries": {"total_max_attempts": 1}}, "max_concurrency": 2} for scheme in S3},
    "file": {"auto_mkdir": True},
    "local": {"auto_mkdir": True},
}
_PLAIN_NAMES = (*S3, "gs", "gcs", "file", "local", "memory")  # their names may hold question marks, never a signature
_FORMS = "write s3://BUCKET/FOLDER, or another address of fsspec"


@dataclass(frozen=True)
class Remote:
    """A place in a store.

    Attributes:
        fs: fsspec's file system.
        root: the place's name in it, without a slash at its end.
        address: the place as the user wrote it, without user, password and query.
    """

    fs: AbstractFileSystem
    root: str
    address: str

    @property
    def is_s3(self) -> bool:
        protocol = self.fs.protocol
        return bool({protocol} & set(S3) if isinstance(protocol, str) else set(protocol) & set(S3))


def plain(url: str) -> str:
    """An address that may be shown: without user, password, and slash at its end; a query only where it is a name."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if scheme.lower() not in _PLAIN_NAMES:
        host, path = host.partition("?")[0], path.partition("?")[0]
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


@contextmanager
def connected(url: str, *, tries: int = 1) -> Iterator[Remote]:
    """The place behind an address, for as long as the context lasts.

    Args:
        url: an address with a scheme that fsspec knows.
        tries: of one request of the S3 client itself; more than one only where a part of an object is at stake.

    Raises:
        UsageError: ``E_REMOTE_URL``; PreflightError: ``E_REMOTE_CLIENT``, the scheme's client is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not rest.strip("/") or "::" in url or any(ord(sign) < 32 for sign in url):
        raise UsageError("E_REMOTE_URL", f"{plain(url)!r} is no address of a folder or object", _FORMS)
    fs, root = _opened(url, scheme.lower())
    if scheme.lower() in S3:
        fs.retries = tries
        fs.loop.set_exception_handler(_tell_only_others)
    try:
        yield Remote(fs, root.rstrip("/"), plain(url))
    finally:
        _close(fs)


def _opened(url: str, scheme: str) -> tuple[AbstractFileSystem, str]:
    if importlib.util.find_spec("fsspec") is None:
        raise _no_client(url, "pip install 'skillrun[s3]'")
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations, registry

    if scheme not in known_implementations and scheme not in registry:
        raise UsageError("E_REMOTE_URL", f"{plain(url)!r} has the unknown scheme {scheme!r}", _FORMS)
    try:
        with explained(plain(url)):
            fs, root = url_to_fs(url, skip_instance_cache=True, **_OPTIONS.get(scheme, {}))
    except TryAgain as turn:
        raise turn.error from turn
    except ImportError as error:
        own = "pip install 'skillrun[s3]'"
        raise _no_client(url, own if scheme in S3 else known_implementations[scheme].get("err", own)) from error
    return fs, str(root)


def _no_client(url: str, fix: str) -> PreflightError:
    scheme = url.partition("://")[0]
    return PreflightError("E_REMOTE_CLIENT", f"{plain(url)}: no client for {scheme}:// is installed here", fix)


def _tell_only_others(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """A dropped connection also ends the task that was sending on it; the request's own error tells it already."""
    if not isinstance(context.get("exception"), ConnectionError):
        loop.default_exception_handler(context)


def _close(fs: AbstractFileSystem) -> None:
    """Close the S3 client's connections; left to itself it closes them at some later time, or complains."""
    client = getattr(fs, "_s3", None)  # the public name would make a client where there is none yet
    if client is not None:
        from fsspec.asyn import sync

        sync(fs.loop, client.__aexit__, None, None, None, timeout=CLOSE_TIMEOUT_S)

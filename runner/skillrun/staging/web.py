"""Addresses of the web: a version is what the answer's headers say, and no hash is declared."""

from __future__ import annotations

from skillrun.staging.refusals import Answer, TryAgain, raise_refused, unreachable
from skillrun.staging.sources import WebFile
from skillrun.staging.store import Kept
from skillrun.staging.transfer import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Remote, version_of


def describe(source: WebFile) -> Remote:
    """The request for the bytes; nothing else is known before its answer."""
    return Remote(url=source.url, headers={}, revision="", etag=None, size=None)


def is_current(source: WebFile, kept: Kept) -> bool:
    """Whether the server still has the version that was kept. One that names no versions is believed to.

    Raises:
        TryAgain: no answer, 429 or 5xx; CredentialsError, NotFoundError: the refusals of ``refusals``.
    """
    import httpx2
    from huggingface_hub import get_session

    if not kept.etag:
        return True
    name = "If-None-Match" if '"' in kept.etag else "If-Modified-Since"
    timeout = httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    headers = {name: kept.etag, "Accept-Encoding": "identity"}
    try:
        with get_session().stream(
            "GET", source.url, headers=headers, timeout=timeout, follow_redirects=True
        ) as response:
            if response.status_code in (200, 304):
                return response.status_code == 304 or version_of(response) == kept.etag
            raise_refused(source, Answer(response.status_code, response.headers))
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise TryAgain(unreachable(source, str(error) or type(error).__name__)) from error

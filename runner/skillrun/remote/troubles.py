"""What a store's refusal means to the user, and which may pass by waiting.

Texts of the client and the server are not repeated: they can hold addresses with signatures.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from skillrun import staging
from skillrun.errors import BackendError, CredentialsError, NotFoundError, SkillrunError, UsageError
from skillrun.staging import patience, store
from skillrun.staging.refusals import TryAgain

T = TypeVar("T")
LOGIN = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_BASES = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "botocore.parsers": ("ResponseParserError",),
    "aiohttp": ("ClientError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "gcsfs.retry": ("HttpError",),
    "azure.core.exceptions": ("AzureError",),
}
_NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "SSOError",
    "TokenRetrievalError",
    "DefaultCredentialsError",
    "RefreshError",
)
_BAD_CREDENTIALS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "InvalidSecurity",
    "TokenRefreshRequired",
    "AuthFailure",
)
_PASSING = (
    "builtins.TimeoutError",
    "builtins.ConnectionError",
    "botocore.HTTPClientError",
    "botocore.ConnectionError",
    "botocore.IncompleteReadError",
    "botocore.ResponseStreamingError",
    "botocore.ResponseParserError",
    "aiohttp.ClientError",
)
_PASSING_CODES = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling")


def _failures() -> tuple[type[Exception], ...]:
    """What clients raise; only classes of those that are loaded."""
    found: list[type[Exception]] = [OSError, ValueError]
    for module, names in _BASES.items():
        loaded = sys.modules.get(module)
        found.extend(getattr(loaded, name) for name in names if hasattr(loaded, name))
    return tuple(found)


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Failures of the store's client become errors with a fix.

    Raises:
        TryAgain: the same may succeed later. CredentialsError: ``E_REMOTE_CREDENTIALS``, ``E_REMOTE_FORBIDDEN``.
        NotFoundError: ``E_REMOTE_NOT_FOUND``. UsageError: ``E_REMOTE_URL``. BackendError: ``E_REMOTE_REFUSED``.
    """
    try:
        yield
    except _failures() as error:
        raise _meaning(error, address) from error


def _meaning(error: Exception, address: str) -> SkillrunError | TryAgain:
    names = {f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(error).__mro__}
    plain_names = {name.partition(".")[2] for name in names}
    code, status = _answer(error)
    if plain_names & set(_NO_CREDENTIALS):
        return _no_credentials(address, plain_names)
    if code in _BAD_CREDENTIALS or status == 401:
        text = f"{address}: the store refuses these credentials ({code or status})"
        return CredentialsError("E_REMOTE_CREDENTIALS", text, f"{LOGIN} to valid ones (and AWS_SESSION_TOKEN)")
    if isinstance(error, FileNotFoundError) or status == 404:
        what = "there is no such bucket" if code == "NoSuchBucket" else "there is no such folder or object"
        return NotFoundError("E_REMOTE_NOT_FOUND", f"{address}: {what}", "check the address and AWS_ENDPOINT_URL")
    if status in (408, 429) or (status or 0) >= 500 or code in _PASSING_CODES or (not status and names & set(_PASSING)):
        return TryAgain(unreachable(address, code or type(error).__name__))
    if isinstance(error, PermissionError) or status == 403:
        text = f"{address}: these credentials may not do that ({code or 'access denied'})"
        return CredentialsError("E_REMOTE_FORBIDDEN", text, "ask for the rights to list, read and write there")
    if isinstance(error, ValueError) or "ParamValidationError" in plain_names:
        text = f"{address}: the store's client refuses this address or endpoint"
        return UsageError("E_REMOTE_URL", text, "check the address, AWS_ENDPOINT_URL and AWS_REGION")
    reason = f"the store answers {code}" if code else f"the store's client ended with {type(error).__name__}"
    return BackendError("E_REMOTE_REFUSED", f"{address}: {reason}", "check AWS_ENDPOINT_URL and AWS_REGION")


def _no_credentials(address: str, names: set[str]) -> CredentialsError:
    if "ProfileNotFound" in names:
        text = f"{address}: there is no profile {os.environ.get('AWS_PROFILE', '')!r} as AWS_PROFILE names it"
    elif "PartialCredentialsError" in names:
        text = f"{address}: only a part of the credentials is set"
    else:
        text = f"{address}: there are no credentials for it"
    return CredentialsError("E_REMOTE_CREDENTIALS", text, f"{LOGIN}; for what is open to all: FSSPEC_S3_ANON=true")


def _answer(error: BaseException) -> tuple[str, int | None]:
    """The store's own word and HTTP status; empty and None where there was no answer."""
    for one in (error, error.__cause__):
        response: Any = getattr(one, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return str(response.get("Error", {}).get("Code", "")), status
    status = getattr(error, "status", getattr(error, "code", None))
    return (str(status), status) if isinstance(status, int) else ("", None)


def unreachable(address: str, why: str) -> BackendError:
    """No answer, or one that may be another soon."""
    own = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).netloc.rpartition("@")[2]
    return BackendError(
        "E_REMOTE_UNREACHABLE",
        f"{address}: the store{f' at {own}' if own else ''} can not be used now ({why})",
        "check the network and AWS_ENDPOINT_URL and type the same again; what was fetched before: --offline",
        retryable=True,
    )


def as_cache_trouble(path: Path) -> AbstractContextManager[None]:
    """A refusal of this host's file system as an error with a fix."""
    return store.as_cache_trouble(path, "E_REMOTE_CACHE", "the data cache")


def patiently(
    attempt: Callable[[], T], progress: Callable[[], int], pause: Callable[[float, SkillrunError], None]
) -> T:
    """As `skillrun.staging.patience.patiently`, with the waits of staging."""
    return patience.patiently(attempt, progress, pause, staging.WAITS_S)

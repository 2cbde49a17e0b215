"""What a server's refusal means to the user: each has an error of its own, with what mends it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn

from skillrun.errors import BackendError, CredentialsError, NotFoundError, SkillrunError
from skillrun.staging.sources import HubFile, WebFile, endpoint

LOGIN = "hf auth login   (or set HF_TOKEN)"


class TryAgain(Exception):  # noqa: N818 - a turn of events, not an error
    """The same may succeed later.

    Attributes:
        error: what to tell when no try succeeds.
        after_s: what the server asks to wait, seconds; None where it asks for nothing.
    """

    def __init__(self, error: SkillrunError, after_s: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.after_s = after_s


@dataclass(frozen=True)
class Answer:
    """A server's refusal; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    with_token: bool = False


def raise_refused(source: HubFile | WebFile, answer: Answer) -> NoReturn:
    """Raises TryAgain for 408, 429 and 5xx, else the error of the refusal; 401, 403 and 404 are final."""
    if answer.status in (408, 429) or answer.status >= 500:
        error = rate_limited(source) if answer.status == 429 else unreachable(source, f"it answers {answer.status}")
        raise TryAgain(error, asked_wait(answer.headers))
    raise _hub_refusal(source, answer) if isinstance(source, HubFile) else _web_refusal(source, answer)


def rate_limited(source: HubFile | WebFile) -> SkillrunError:
    """Too many requests of this user or address."""
    return BackendError(
        "E_HUB_RATE_LIMIT",
        f"{source.text}: the server limits the rate of requests (429)",
        f"wait some minutes and type the same again; with a token the hub allows more: {LOGIN}",
        retryable=True,
    )


def unreachable(source: HubFile | WebFile, why: str) -> SkillrunError:
    """No answer, or one that is no answer."""
    return BackendError(
        "E_HUB_UNREACHABLE",
        f"{source.text}: the server can not be used now: {why}",
        "check the network (HTTPS_PROXY, HF_ENDPOINT) and type the same again; a file staged before: --offline",
        retryable=True,
    )


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds of ``Retry-After`` (a number or a date), else None; never negative."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (aware - datetime.fromtimestamp(time.time(), UTC)).total_seconds())
    return None


def _hub_refusal(source: HubFile, answer: Answer) -> SkillrunError:
    code = answer.headers.get("x-error-code", "")
    if answer.status == 404 or code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound"):
        return _not_found(source, code, answer.with_token)
    if answer.status not in (401, 403):
        return unreachable(source, f"it answers {answer.status}")
    if not answer.with_token:
        gated = "its licence must be accepted" if code == "GatedRepo" else "it is not public"
        return CredentialsError("E_HUB_NO_TOKEN", f"{source.text} needs a token of the hub: {gated}", LOGIN)
    if code == "GatedRepo":
        page = f"{endpoint() or 'https://huggingface.co'}/{source.repo}"
        return CredentialsError(
            "E_HUB_NOT_ACCEPTED",
            f"{source.text}: the token's user has not accepted the licence of {source.repo}, or waits for approval",
            f"open {page}, accept the licence as the token's user, and type the same again",
        )
    return CredentialsError(
        "E_HUB_TOKEN_REFUSED",
        f"{source.text}: the hub refuses this token ({answer.status}): it has expired or may not read {source.repo}",
        "make a token that may read this repository, then: hf auth login",
    )


def _not_found(source: HubFile, code: str, with_token: bool) -> SkillrunError:
    page = f"{endpoint() or 'https://huggingface.co'}/{source.repo}"
    missing = {
        "RevisionNotFound": f"{source.repo} has no revision {source.revision!r}",
        "EntryNotFound": f"{source.repo} has no file {source.file!r} at {source.revision!r}",
    }
    hidden = "or is not open to this token" if with_token else "or is private (no token was sent)"
    fix = f"look at {page}" if code in missing else f"check the spelling at {page}; a private one: {LOGIN}"
    return NotFoundError("E_HUB_NOT_FOUND", missing.get(code, f"{source.text} is not on the hub, {hidden}"), fix)


def _web_refusal(source: WebFile, answer: Answer) -> SkillrunError:
    if answer.status in (401, 403):
        return CredentialsError(
            "E_URL_REFUSED",
            f"{source.text}: the server refuses access ({answer.status})",
            "fetch the file with a tool that can log in there, and name it by its path",
        )
    if answer.status in (404, 410):
        return NotFoundError("E_URL_NOT_FOUND", f"{source.text} is not there ({answer.status})", "check the address")
    return unreachable(source, f"it answers {answer.status}")

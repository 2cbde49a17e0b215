"""The hub's part, by huggingface_hub: the address of a file, its commit, its declared hash, the user's token."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from skillrun.errors import UsageError
from skillrun.staging.refusals import Answer, TryAgain, raise_refused, unreachable
from skillrun.staging.sources import HubFile, endpoint
from skillrun.staging.transfer import Remote

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata
    from huggingface_hub.errors import HfHubHTTPError

COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
METADATA_TIMEOUT_S = 15.0


def describe(source: HubFile) -> Remote:
    """One question to the hub, no retry.

    Raises:
        TryAgain: no answer, 429 or 5xx; CredentialsError, NotFoundError: the refusals of ``refusals``;
        UsageError: a name that the hub's rules forbid.
    """
    import httpx2
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    token = get_token()
    try:
        asked = hf_hub_url(source.repo, source.file, revision=source.revision, endpoint=endpoint())
        found = get_hf_file_metadata(asked, token=token or False, timeout=METADATA_TIMEOUT_S, endpoint=endpoint())
    except HFValidationError as error:
        raise UsageError("E_STAGE_SOURCE", f"{source.text}: {error}", "hf://ORG/REPO/FILE[@REVISION]") from error
    except HfHubHTTPError as error:
        raise_refused(source, _answer(error, with_token=token is not None))
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise TryAgain(unreachable(source, str(error) or type(error).__name__)) from error
    return _remote(source, found, token)


def _remote(source: HubFile, found: HfFileMetadata, token: str | None) -> Remote:
    """Bytes are asked for at the commit, so that a branch that moves in between mixes nothing."""
    from huggingface_hub import hf_hub_url

    revision = found.commit_hash or source.revision
    etag = found.etag or ""
    return Remote(
        url=hf_hub_url(source.repo, source.file, revision=revision, endpoint=endpoint()),
        headers={"Authorization": f"Bearer {token}"} if token else {},
        revision=revision,
        etag=etag,
        size=found.size,
        sha256=etag if _SHA256.fullmatch(etag) else None,
        git_sha1=etag if COMMIT.fullmatch(etag) else None,
        with_token=token is not None,
    )


def _answer(error: HfHubHTTPError, *, with_token: bool) -> Answer:
    response = error.response
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, with_token)

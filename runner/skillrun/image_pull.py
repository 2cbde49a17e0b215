"""Fetch an image, with progress, and with the registry's refusals in words that say what to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from skillrun.errors import BackendError, CredentialsError, NotFoundError, SkillrunError
from skillrun.images import ImageReference, carry, versions
from skillrun.progress import Progress

if TYPE_CHECKING:
    from docker import DockerClient

_RATE = re.compile(r"toomanyrequests|rate limit", re.IGNORECASE)
_LOGIN = re.compile(r"unauthorized|denied|authentication required|no basic auth|forbidden", re.IGNORECASE)
_UNKNOWN = re.compile(r"manifest unknown|manifest for .* not found|name unknown|not found: manifest", re.IGNORECASE)
_DISK = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_TRUST = re.compile(r"x509|certificate|HTTP response to HTTPS client", re.IGNORECASE)
_OFFLINE = re.compile(
    r"no such host|connection refused|connection reset|timeout|timed out|deadline exceeded|unreachable|no route to host"
    r"|name resolution|server misbehaving|proxyconnect|dial tcp|lookup .* on|EOF",
    re.IGNORECASE,
)


def pull(client: DockerClient, image: ImageReference, show: Callable[[Progress], None]) -> None:
    """Fetch an image.

    Raises:
        CredentialsError, NotFoundError, BackendError: the registry or the engine refuses; each names its cause.
    """
    from docker.errors import APIError
    from requests.exceptions import RequestException

    layers = _Layers()
    try:
        with closing(client.api.pull(image.reference, stream=True, decode=True)) as events:
            for progress in layers.follow(events):
                show(progress)
    except APIError as error:
        raise explain(image, str(error.explanation or error)) from error
    except RequestException as error:
        raise BackendError(
            "E_DOCKER_ANSWER",
            f"the engine broke off while it fetched {image.reference}: {error}",
            "docker info",
            retryable=True,
        ) from error
    if layers.error:
        raise explain(image, layers.error)


class _Layers:
    """Sums the engine's events, which speak of one layer each."""

    def __init__(self) -> None:
        self.error = ""
        self._bytes: dict[str, tuple[int, int]] = {}

    def follow(self, events: Iterable[dict[str, Any]]) -> Iterable[Progress]:
        """One progress per event of a layer; an error ends it and is kept."""
        for event in events:
            if event.get("error"):
                self.error = str(event["error"])
                return
            layer, status = str(event.get("id", "")), str(event.get("status", ""))
            if not layer or status.startswith("Pulling from"):
                continue
            self._count(layer, status, event.get("progressDetail") or {})
            done, total = (sum(column) for column in zip(*self._bytes.values(), strict=True)) if self._bytes else (0, 0)
            phase = "extracting" if status == "Extracting" else "downloading"
            yield Progress(phase, done, total)

    def _count(self, layer: str, status: str, detail: dict[str, Any]) -> None:
        if status == "Downloading" and detail.get("total"):
            self._bytes[layer] = (int(detail.get("current") or 0), int(detail["total"]))
        elif status == "Download complete" and layer in self._bytes:
            total = self._bytes[layer][1]
            self._bytes[layer] = (total, total)


def explain(image: ImageReference, said: str) -> SkillrunError:
    """The error for what the engine said about a failed download."""
    name, host = image.reference, image.registry
    said = " ".join(said.split()).rstrip(".")
    if _DISK.search(said):
        return BackendError(
            "E_IMAGE_DISK_FULL", f"the engine's disk has no room for {name}", "docker system df; docker system prune"
        )
    if _RATE.search(said):
        fix = f"{login(host)}, or wait an hour"
        return BackendError("E_IMAGE_RATE_LIMIT", f"{host} limits downloads: {said}", fix, retryable=True)
    if _LOGIN.search(said):
        text = f"{host} gives {name} only to users that it knows, or has no such image: {said}"
        return CredentialsError("E_IMAGE_LOGIN", text, login(host))
    if _UNKNOWN.search(said):
        fix = "correct its tag; names of skillrun's own choice stand in references/versions.yaml"
        return NotFoundError("E_IMAGE_NOT_FOUND", f"{host} has no image {name}: {said}", fix)
    if _TRUST.search(said):
        fix = f"put its certificate into /etc/docker/certs.d/{host}/ca.crt, or list it under insecure-registries"
        return BackendError("E_IMAGE_TRUST", f"the engine does not trust {host}: {said}", fix)
    if _OFFLINE.search(said):
        text = f"the engine can not reach {host} for {name}: {said}"
        return BackendError("E_IMAGE_OFFLINE", text, carry(image), retryable=True)
    return BackendError("E_IMAGE_PULL", f"the engine could not fetch {name}: {said}", f"docker pull {name}")


def login(host: str) -> str:
    """The command that logs in to a registry. Docker Hub needs no host; some registries know one user name only."""
    user = versions()["login_users"].get(host)
    option = f" -u {shlex.quote(user)}" if user else ""
    return f"docker login{option}{'' if host == 'docker.io' else f' {host}'}"

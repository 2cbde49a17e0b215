"""The Docker engine: which one is meant, whether it answers, and a connection to it.

The choice is the Docker command's own: ``DOCKER_HOST``, else ``DOCKER_CONTEXT``, else the current context of
``~/.docker/config.json``, else the default socket.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from skillrun.errors import BackendError
from skillrun.runfolder import read_json

if TYPE_CHECKING:
    from docker import DockerClient

DEFAULT_HOST = "unix:///var/run/docker.sock"
CONNECT_TIMEOUT_S = 1.0
REQUEST_TIMEOUT_S = 60
# The origin of an endpoint that a run wrote down when it was launched.
RECORDED = "the run's own engine"


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens.

    Attributes:
        host: e.g. ``unix:///var/run/docker.sock``, ``tcp://gpu-box:2376``, ``ssh://user@gpu-box``.
        origin: what named it: ``DOCKER_HOST``, ``context NAME`` or ``default``.
    """

    host: str
    origin: str

    @property
    def remote(self) -> bool:
        """True where the engine may run on another host, whose files are not this host's."""
        return not self.host.startswith(("unix://", "npipe://"))

    @property
    def socket(self) -> Path | None:
        """The socket file of a local engine."""
        return Path(self.host.removeprefix("unix://")) if self.host.startswith("unix://") else None


def endpoint() -> Endpoint:
    """The engine that a Docker command would use now; nothing is asked."""
    if host := os.environ.get("DOCKER_HOST"):
        return Endpoint(host, "DOCKER_HOST")
    folder = Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()
    name = os.environ.get("DOCKER_CONTEXT") or str((read_json(folder / "config.json") or {}).get("currentContext", ""))
    if name and name != "default":
        key = hashlib.sha256(name.encode()).hexdigest()
        meta = read_json(folder / "contexts" / "meta" / key / "meta.json") or {}
        host = str(((meta.get("Endpoints") or {}).get("docker") or {}).get("Host") or "")
        if not host:
            raise BackendError(
                "E_DOCKER_CONTEXT",
                f"the Docker context {name!r} does not exist in {folder}",
                "docker context use default",
            )
        return Endpoint(host, f"context {name}")
    return Endpoint(DEFAULT_HOST, "default")


def reachable() -> bool:
    """Whether something listens there; takes a millisecond where nothing does."""
    try:
        place = endpoint()
    except BackendError:
        return False
    if place.socket is None:
        return True
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(CONNECT_TIMEOUT_S)
        try:
            link.connect(str(place.socket))
        except OSError:
            return False
    return True


def connect(host: str = "") -> DockerClient:
    """A client of that engine, which has answered once.

    Args:
        host: the engine of an earlier run; empty for the one that is meant now.

    Raises:
        BackendError: no engine, no permission for its socket, or it does not answer; each with what to type.
    """
    place = endpoint()
    if host and host != place.host:
        place = Endpoint(host, RECORDED)
    _knock(place)
    from docker.errors import DockerException

    try:
        return _client(place)
    except (DockerException, OSError) as error:
        raise _no_engine(place, str(error)) from error


@functools.cache
def _client(place: Endpoint) -> DockerClient:
    """One client per engine and process: it keeps its connections, and makes new ones when the engine restarts."""
    import docker

    over_ssh = place.host.startswith("ssh://")
    if place.origin == RECORDED:
        return docker.DockerClient(place.host, timeout=REQUEST_TIMEOUT_S, use_ssh_client=over_ssh)
    return docker.from_env(timeout=REQUEST_TIMEOUT_S, use_ssh_client=over_ssh)


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Around questions to an engine that may go away in the middle of an answer.

    Raises:
        BackendError: it did. What the engine does not find is still ``docker.errors.NotFound``.
    """
    from docker.errors import DockerException, NotFound
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except NotFound:
        raise
    except (DockerException, RequestException, HTTPError, ConnectionError) as error:
        said = " ".join(str(error).split())[:300]
        raise BackendError(
            "E_DOCKER_ANSWER", f"the engine broke off its answer: {said}", "skillrun doctor", retryable=True
        ) from error


def _knock(place: Endpoint) -> None:
    """Fail within a second, and with the system's own reason, where nobody listens."""
    try:
        if place.socket is not None:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(CONNECT_TIMEOUT_S)
                link.connect(str(place.socket))
        elif place.host.startswith(("tcp://", "http://", "https://")):
            address = urlsplit(place.host)
            socket.create_connection((address.hostname or "", address.port or 2375), timeout=CONNECT_TIMEOUT_S).close()
    except PermissionError as error:
        raise BackendError(
            "E_DOCKER_PERMISSION",
            f"the engine's socket {place.socket} may not be opened by this user",
            "sudo usermod -aG docker $USER, then log in again",
        ) from error
    except (OSError, ValueError) as error:
        raise _no_engine(place, getattr(error, "strerror", None) or str(error)) from error


def _no_engine(place: Endpoint, reason: str) -> BackendError:
    if place.origin == "default":
        fix = "start it: sudo systemctl start docker (install: sudo apt-get install docker.io), or use --backend local"
    else:
        fix = f"check {place.origin}, or use --backend local"
    return BackendError(
        "E_DOCKER_NO_ENGINE",
        f"no Docker engine answers at {place.host} ({place.origin}): {reason}",
        fix,
        retryable=True,
    )

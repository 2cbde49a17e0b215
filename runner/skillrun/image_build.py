"""Build our own images through the engine, with a network or from a folder of wheels."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun import __version__, bank, images
from skillrun.errors import BackendError, NotFoundError, UsageError
from skillrun.image_context import Sources, download_command, pack, sources
from skillrun.progress import Progress

if TYPE_CHECKING:
    from docker import DockerClient

ROLES = ("train", "deploy")
TAIL_LINES = 10  # a conflict of packages is told in as many
ENGINES_OWN = (" --->", "Removing intermediate container")  # not words of the step
SILENCE_S = 3600  # an installation of torch says nothing for minutes
_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NO_NETWORK = re.compile(
    r"name resolution|could not resolve|NewConnectionError|CERTIFICATE_VERIFY_FAILED|Temporary failure|unreachable",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class BuildStep:
    """A step of a build has begun: its number, how many there are, and what it runs."""

    number: int
    steps: int
    text: str


@dataclass(frozen=True)
class BuiltImage:
    """A finished build; ``size`` in bytes as the engine counts it, with its base."""

    reference: str
    image_id: str
    size: int
    seconds: float


def build(
    client: DockerClient,
    role: str,
    *,
    cpu: bool = False,
    wheelhouse: Path | None = None,
    base: str | None = None,
    show: Callable[[BuildStep | Progress], None],
) -> BuiltImage:
    """Build one image of ours and give it its name.

    Args:
        role: ``train`` or ``deploy``.
        wheelhouse: folder of wheels; with it no step has a network.
        base: image to start from instead of the one in ``versions.yaml``.

    Raises:
        UsageError: an unknown role, or wheels that can not do. NotFoundError: the Dockerfile is not here.
        BackendError: no base image, or a step failed; ends with that step's last lines.
    """
    if role not in ROLES:
        raise UsageError("E_IMAGE_ROLE", f"there is no image {role!r} to build", f"choose from: {', '.join(ROLES)}")
    image, variant = images.resolve(f"{images.OWN}.visual_changenet_{role}", cpu=cpu), "cpu" if cpu else "gpu"
    found = sources(role, cpu=cpu, wheelhouse=wheelhouse)
    base = base or str(images.versions()["bases"][role][variant])
    _ensure_base(client, base, show)
    started, log = time.monotonic(), _BuildLog()
    with tempfile.TemporaryFile() as context:
        pack(found, context)
        context.seek(0)
        _stream(client, image.reference, context, found, base, log, show)
    if log.error:
        raise _failed(image.reference, log, found)
    made = images.inspect(client, image.reference) or {}
    seconds = time.monotonic() - started
    return BuiltImage(image.reference, str(made.get("Id", "")), int(made.get("Size", 0)), seconds)


def _stream(
    client: DockerClient,
    reference: str,
    context: Any,
    found: Sources,
    base: str,
    log: _BuildLog,
    show: Callable[[BuildStep | Progress], None],
) -> None:
    from docker.errors import APIError
    from requests.exceptions import RequestException

    request = {
        "fileobj": context,
        "custom_context": True,
        "dockerfile": found.dockerfile,
        "tag": reference,
        "buildargs": found.build_args | {"BASE_IMAGE": base, "VERSION": __version__, "REVISION": _revision()},
        "network_mode": "none" if found.wheels else None,
        "rm": True,
        "forcerm": True,
        "decode": True,
        "timeout": SILENCE_S,
    }
    try:
        with closing(client.api.build(**request)) as events:
            for step in log.follow(events):
                show(step)
    except APIError as error:
        log.error = str(error.explanation or error)
    except RequestException as error:
        raise BackendError(
            "E_DOCKER_ANSWER",
            f"the engine broke off while it built {reference}: {error}",
            "docker info",
            retryable=True,
        ) from error


class _BuildLog:
    """The engine's stream of a build: where it is, and the last words of the step at work."""

    def __init__(self) -> None:
        self.error = ""
        self.step: BuildStep | None = None
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    def follow(self, events: Iterable[dict[str, Any]]) -> Iterable[BuildStep]:
        """Every step when it begins; an error ends it and is kept."""
        for event in events:
            if event.get("error"):
                self.error = str(event["error"])
                return
            for line in _COLOUR.sub("", str(event.get("stream", ""))).splitlines():
                if match := _STEP.match(line):
                    self.step = BuildStep(int(match[1]), int(match[2]), match[3])
                    self.tail.clear()
                    yield self.step
                elif line.strip() and not line.startswith(ENGINES_OWN):
                    self.tail.append(line.strip())


def _failed(reference: str, log: _BuildLog, found: Sources) -> BackendError:
    said = " | ".join(log.tail) or log.error
    where = f"step {log.step.number} of {log.step.steps} ({log.step.text[:60]})" if log.step else "its start"
    text = f"building {reference} failed at {where}: {said}"
    everything = f"{said} {log.error}"
    if "no space left on device" in everything:
        fix = "docker system df; docker system prune"
    elif found.wheels and re.search("No matching distribution|ResolutionImpossible", everything):
        fix = f"add the wheel: {download_command(found)}"
    elif not found.wheels and _NO_NETWORK.search(everything):
        fix = f"build without a network: {download_command(found)}, then again with --wheelhouse wheelhouse"
    else:
        fix = "mend what it says and run the same command again: finished steps are kept"
    return BackendError("E_IMAGE_BUILD", text, fix)


def _ensure_base(client: DockerClient, base: str, show: Callable[[BuildStep | Progress], None]) -> None:
    """The engine would fetch it as well, but says neither how far it is nor what helps."""
    if images.find(client, base):
        return
    try:
        images.ensure(client, images.resolve(base if {":", "/"} & set(base) else f"{base}:latest"), "missing", show)
    except (BackendError, NotFoundError) as error:
        fix = "name one that `docker images` lists: --base IMAGE (Debian or Ubuntu with Python 3.11 or newer)"
        if (maker := bank.bank_root() / "tools" / "base_image.sh").is_file():
            fix += f"; one is made without a registry by: {shlex.quote(str(maker))} NAME"
        raise BackendError(
            "E_IMAGE_BASE", f"the base image {base} is not on the engine, and fetching it failed: {error.message}", fix
        ) from error


def _revision() -> str:
    """The commit of this checkout, with ``-dirty`` behind it where files differ; ``unknown`` outside of one."""
    command = ["git", "-C", str(bank.bank_root()), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"

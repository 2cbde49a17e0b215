"""Backends: places where a plan runs. All keep the same promises, written in `Backend`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from skillrun.errors import UsageError
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder

if TYPE_CHECKING:
    from skillrun.progress import Progress

BACKENDS = ("local", "docker")
DEFAULT_VARIABLE = "SKILLRUN_BACKEND"


@dataclass(frozen=True)
class Seen:
    """What the system says of a run: whether it may still be running, and what is uncertain about that."""

    alive: bool
    note: str = ""


class Talk(Protocol):
    """Where a backend tells the user what takes time."""

    def say(self, text: str) -> None: ...

    def fetched(self, what: str, progress: Progress) -> None: ...


class Quiet:
    """Tells nobody."""

    def say(self, text: str) -> None:
        """Drop the text."""

    def fetched(self, what: str, progress: Progress) -> None:
        """Drop the progress."""


class Backend(Protocol):
    """The contract of a backend.

    1. `render` is pure: the exact request as JSON-able data; nothing is started, nothing is written.
    2. `require_ready` raises at once where the plan can not run here. `settle` does what takes time before the launch
       (fetching an image, waiting for a GPU), and returns the plan with what only that moment can tell, e.g.
       which GPUs. Neither writes anything.
    3. `launch` sends the request and returns a handle (JSON-able) without waiting for the run; on an error nothing
       is left.
    4. A launched run outlives the launcher; its exit code lands in ``exit.json`` whoever watches.
    5. `look` tells the truth from the system, not from memory.
    6. `stop` is idempotent and returns when nothing of the run is left running.
    7. `forget` removes whatever the system still has of an ended run.
    """

    name: str

    @property
    def local_files(self) -> bool: ...

    def render(self, plan: Plan) -> dict[str, Any]: ...

    def require_ready(self, plan: Plan) -> None: ...

    def settle(self, plan: Plan, talk: Talk) -> Plan: ...

    def launch(self, plan: Plan, talk: Talk) -> dict[str, Any]: ...

    def look(self, run: RunFolder) -> Seen: ...

    def stop(self, run: RunFolder, *, grace_s: float = 30.0) -> None: ...

    def forget(self, run: RunFolder) -> None: ...


def get_backend(name: str) -> Backend:
    """The backend of that name; raises UsageError for any other."""
    if name == "local":
        from skillrun.backends.local import LocalBackend

        return LocalBackend()
    if name == "docker":
        from skillrun.backends.docker import DockerBackend

        return DockerBackend()
    there = ", ".join(BACKENDS)
    raise UsageError("E_BACKEND_UNKNOWN", f"there is no backend {name!r}; there are: {there}", "--backend local")


def choose(name: str, image: str) -> tuple[Backend, str]:
    """The backend for a request, and why: ``auto`` takes Docker where its engine has the image, else this host.

    ``SKILLRUN_BACKEND`` says what ``auto`` means. Where nothing is installed to run locally, Docker is taken as well,
    and its launch tells what is missing.
    """
    name = os.environ.get(DEFAULT_VARIABLE, "auto") if name == "auto" else name
    if name != "auto":
        return get_backend(name), ""
    from skillrun import engine
    from skillrun.backends.local import missing_packages

    if engine.reachable():
        from skillrun import images

        if images.present(image):
            return get_backend("docker"), f"the engine has {image}"
        if missing_packages():
            return get_backend("docker"), "nothing is installed to run it on this host"
    return get_backend("local"), ""

"""Backends: places where a plan runs. All keep the same promises, written in `Backend`."""

from __future__ import annotations

from typing import Any, Protocol

from skillrun.errors import UsageError
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder


class Backend(Protocol):
    """The contract of a backend.

    1. `render` is pure: the exact request as JSON-able data; nothing is started, nothing is written.
    2. `require_ready` raises BackendError, before anything is written, where the plan can not run here.
    3. `launch` sends that request and returns a handle (JSON-able) without waiting for the run.
    4. A launched run outlives the launcher; its exit code lands in ``exit.json`` whoever watches.
    5. `alive` tells the truth from the system, not from memory.
    6. `stop` is idempotent and returns when nothing of the run is left.
    """

    name: str

    def render(self, plan: Plan) -> dict[str, Any]: ...

    def require_ready(self, plan: Plan) -> None: ...

    def launch(self, plan: Plan) -> dict[str, Any]: ...

    def alive(self, run: RunFolder) -> bool: ...

    def stop(self, run: RunFolder, *, grace_s: float = 30.0) -> None: ...


def get_backend(name: str) -> Backend:
    """The backend of that name (``auto`` is ``local`` while it is the only one); raises UsageError otherwise."""
    if name in ("auto", "local"):
        from skillrun.backends.local import LocalBackend

        return LocalBackend()
    raise UsageError("E_BACKEND_UNKNOWN", f"there is no backend {name!r}; there is: local", "--backend local")

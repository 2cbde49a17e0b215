"""Optional packages: say what is missing and how to get it, before any work is done."""

from __future__ import annotations

from importlib.util import find_spec

from skillrun.errors import BackendError


def require(purpose: str, *modules: str) -> None:
    """Make sure that optional modules can be imported.

    Args:
        purpose: what needs them; starts the message, e.g. ``"Drawing boards"``.
        modules: top-level import names, e.g. ``"numpy"``, ``"cv2"``.

    Raises:
        BackendError: ``E_EXTRA_MISSING`` naming all modules that are not installed.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise BackendError(
            "E_EXTRA_MISSING",
            f"{purpose} needs the Python package(s) {names}, not installed here.",
            'pip install "skillrun[local]"',
        )

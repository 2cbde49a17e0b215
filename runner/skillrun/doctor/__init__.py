"""Looks at this host and says what is missing for a run, and what to type about it. Changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from skillrun.doctor.check import Check, Status

__all__ = ["Check", "Status", "checks", "failed"]

PATIENCE_S = 5.0


class _Group(threading.Thread):
    """One group of checks at work; a thread that the end of the program does not wait for."""

    def __init__(self, name: str, look: Callable[[], list[Check]]) -> None:
        super().__init__(daemon=True, name=name)
        self.look = look
        self.found: list[Check] | None = None

    def run(self) -> None:
        self.found = self.look()


def checks(workspace: Path) -> Iterator[Check]:
    """All checks, in a fixed order, as they become known.

    The groups work at the same time. One that takes more than 5 s (a hanging network file system, an engine that
    accepts and does not answer) is said to be late, and the rest goes on.

    Args:
        workspace: absolute folder that holds, or would hold, ``runs/``.
    """
    groups = _groups(workspace)
    for group in groups:
        group.start()
    deadline = time.monotonic() + PATIENCE_S
    told: list[Check] = []
    for group in groups:
        group.join(max(0.0, deadline - time.monotonic()))
        found = group.found
        if found is None:
            found = [Check(group.name, "warn", f"no answer within {PATIENCE_S:.0f} s", "skillrun doctor, once more")]
        told += found
        yield from found
    yield _verdict(told)


def failed(found: Sequence[Check]) -> bool:
    """Whether something keeps every run from starting."""
    return any(check.status == "fail" for check in found)


def _groups(workspace: Path) -> tuple[_Group, ...]:
    from skillrun.doctor.containers import engine_checks
    from skillrun.doctor.graphics import graphics_checks
    from skillrun.doctor.host import host_checks
    from skillrun.doctor.hub import hub_checks
    from skillrun.doctor.storage import storage_checks

    return (
        _Group("host", lambda: host_checks(workspace)),
        _Group("disk", lambda: storage_checks(workspace)),
        _Group("engine", engine_checks),
        _Group("driver", graphics_checks),
        _Group("hub", hub_checks),
    )


def _verdict(told: Sequence[Check]) -> Check:
    """Where a run could start now."""
    bad = {check.name for check in told if check.status != "ok"}
    named = {check.name for check in told}
    local = "local runs" in named - bad
    docker = "engine disk" in named  # told only of an engine that answers
    if local or docker:
        words = " and ".join(word for word, there in (("local", local), ("docker", docker)) if there)
        return Check("runs", "ok", f"can start with --backend {words}")
    text = "no run can start: neither torch here nor a Docker engine"
    return Check("runs", "fail", text, "pip install 'skillrun[local]', or install and start Docker")

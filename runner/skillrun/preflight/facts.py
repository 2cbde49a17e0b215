"""What this host has for a run, measured in a few milliseconds: disk, memory, shared memory, file system, clock."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skillrun.doctor.check import Check

if TYPE_CHECKING:
    from skillrun.plan import Plan

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Host:
    """Numbers in bytes; None where this system does not tell.

    Attributes:
        disk: free below the results folder, for this user.
        memory: free, within the limit of the control group.
        shared_memory: free in ``/dev/shm``.
        driver: whether a GPU driver answers.
        network, clock: the doctor's findings about the results' file system and the time.
    """

    disk: int | None
    memory: int | None
    shared_memory: int | None
    driver: bool
    network: Check
    clock: Check


def measure(plan: Plan) -> Host:
    """The facts for one plan."""
    from skillrun import gpus
    from skillrun.doctor.host import check_clock
    from skillrun.doctor.storage import check_network

    results, memory = Path(plan.results_dir), read_memory()
    return Host(
        disk=free_below(results),
        memory=memory[0] if memory else None,
        shared_memory=free_below(Path("/dev/shm")) if Path("/dev/shm").is_dir() else 0,
        driver=bool(gpus.driver().version),
        network=check_network("results", results, "--results DIR on a local disk"),
        clock=check_clock(results),
    )


def free_below(place: Path) -> int | None:
    """Bytes that this user may still write below a folder; 0 where no further file fits."""
    from skillrun.doctor.storage import nearest_folder

    try:
        found = os.statvfs(nearest_folder(place))
    except OSError:
        return None
    return 0 if found.f_files and not found.f_favail else found.f_bavail * found.f_frsize


def read_memory() -> tuple[int, int] | None:
    """(free, all) bytes of memory, within the limit of the control group; None where this system does not tell."""
    values = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    if "MemTotal" not in values:
        return None
    limits = [int(text) for text in (_read(path).strip() for path in CGROUP_LIMITS) if text.isdigit()]
    total = min([values["MemTotal"], *limits])
    return min(values.get("MemAvailable", total), total), total


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""

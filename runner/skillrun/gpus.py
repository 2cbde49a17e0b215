"""Choosing GPUs for a run: what ``--gpus`` asks for, which GPUs are free, and a hold on them until the run ends."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from skillrun import gpu_locks
from skillrun.errors import BackendError, ConflictError, NotFoundError, UsageError
from skillrun.gpu_devices import Driver, Gpu, GpuProcess, driver, list_gpus

__all__ = [
    "Driver",
    "Gpu",
    "GpuProcess",
    "GpuRequest",
    "Reservation",
    "driver",
    "list_gpus",
    "parse_request",
    "reserve",
    "unresolved",
]

POLL_S = 1.0
SAY_EVERY_S = 30.0


@dataclass(frozen=True)
class GpuRequest:
    """What ``--gpus`` asks for.

    Attributes:
        kind: ``auto`` (as many as the spec wants, if there is a driver), ``none``, ``all``, ``count`` or ``ids``.
        count: for ``count``, at least 1; else 0.
        ids: for ``ids``: numbers of the PCI bus and UUIDs, as given.
    """

    kind: Literal["auto", "none", "all", "count", "ids"]
    count: int = 0
    ids: tuple[str, ...] = ()


@dataclass
class Reservation:
    """GPUs that a run may use, locked for it.

    Attributes:
        gpus: the GPUs, in the order of the PCI bus; () for none and where unresolved.
        resolved: False where no driver answers here: what was asked for goes to the engine, which decides.
        ids: UUIDs to give to the engine; where unresolved, the ids as they were asked for.
        count: how many GPUs; where unresolved, the number asked for, -1 for all, 0 where ``ids`` name them.
        note: a sentence for the user; empty where there is nothing to say.
        fds: open files that hold the locks. Give them to the run's keeper (``subprocess`` ``pass_fds``): the GPUs
            stay reserved until every process that has them has ended.
    """

    gpus: tuple[Gpu, ...] = ()
    resolved: bool = True
    ids: tuple[str, ...] = ()
    count: int = 0
    note: str = ""
    fds: tuple[int, ...] = ()

    def release(self) -> None:
        """Close this process's hold; the GPUs stay reserved while a keeper has inherited it. Safe to repeat."""
        for link in self.fds:
            with contextlib.suppress(OSError):
                os.close(link)
        self.fds = ()


def parse_request(text: str) -> GpuRequest:
    """Read ``--gpus``: ``auto``, ``none``, ``0``, ``all``, ``2`` (how many), ``0,1``, ``device=0``, ``GPU-…,MIG-…``.

    Raises:
        UsageError: E_GPU_REQUEST, it is none of these, or names a GPU twice.
    """
    asked = text.strip().strip("\"'").strip()
    if asked in ("auto", "all"):
        return GpuRequest("auto" if asked == "auto" else "all")
    if asked == "none" or re.fullmatch(r"0+", asked):
        return GpuRequest("none")
    if re.fullmatch(r"[0-9]{1,4}", asked):
        return GpuRequest("count", count=int(asked))
    ids = [part.strip() for part in asked.removeprefix("device=").split(",")]
    named = all(re.fullmatch(r"[0-9]{1,4}|(GPU|MIG)-[A-Za-z0-9/-]+", part) for part in ids)
    ids = [str(int(part)) if part.isdigit() else part for part in ids] if named else ids
    if not named or len(set(ids)) != len(ids):
        what = "names a GPU twice" if named else "is no choice of GPUs"
        raise UsageError(
            "E_GPU_REQUEST",
            f"--gpus {text!r} {what}",
            "--gpus auto, none, all, 2 (how many), 0,1 or device=0 (which), or GPU-… (UUIDs of nvidia-smi -L)",
        )
    return GpuRequest("ids", ids=tuple(ids))


def reserve(
    request: GpuRequest, *, wanted: int, wait_s: float = 0, say: Callable[[str], None], run_id: str = ""
) -> Reservation:
    """Choose GPUs and lock them for a run.

    ``auto`` and a count take the GPUs with the least memory in use among the free ones: `Gpu.free`, and held by no
    other run. GPUs named by id, and ``all``, are taken also while programs other than skillrun use them, unless
    ``wait_s`` asks to wait for that.

    Args:
        request: from `parse_request`.
        wanted: how many GPUs ``auto`` takes; 0 takes none.
        wait_s: seconds to wait for busy GPUs; 0 fails at once.
        say: gets a line when the waiting begins, every 30 s, and when a GPU frees.
        run_id: written into the locks, for others to read.

    Raises:
        ConflictError: E_GPU_BUSY; NotFoundError: E_GPU_UNKNOWN; UsageError: E_GPU_COUNT, more than there are;
        BackendError: E_GPU_LOST or E_GPU_LOCKS.
    """
    if request.kind == "none" or (request.kind == "auto" and wanted < 1):
        return Reservation()
    found = driver()
    if not found.version:
        return unresolved(request, found.reason)
    wait = _Waiting(wait_s, say)
    while True:
        gpus = list_gpus()
        if request.kind == "auto" and not gpus:
            return Reservation(note="the NVIDIA driver finds no GPU: the run uses the CPU")
        pool, needed = _candidates(request, gpus, wanted)
        strict = wait_s > 0 or request.kind in ("auto", "count")
        held, busy = _try_lock(pool, needed, run_id, strict)
        if held:
            wait.over(held)
            return held
        wait.go_on(needed, busy)


def unresolved(request: GpuRequest, reason: str) -> Reservation:
    """What goes to an engine whose GPUs can not be asked from here (no driver, or another host); nothing is locked.

    ``auto`` takes none then, and says so with the reason, e.g. ``no NVIDIA driver is installed``.
    """
    if request.kind in ("auto", "none"):
        return Reservation(note=f"{reason}: the run uses the CPU" if request.kind == "auto" else "")
    count = {"all": -1, "count": request.count, "ids": 0}[request.kind]
    return Reservation(
        resolved=False, ids=request.ids, count=count, note=f"{reason}: the engine decides about the GPUs"
    )


def _candidates(request: GpuRequest, gpus: Sequence[Gpu], wanted: int) -> tuple[list[Gpu], int]:
    """GPUs that may be taken, best first, and how many of them are needed."""
    working = [gpu for gpu in gpus if not gpu.problem]
    if request.kind == "ids":
        named = [_named(identity, gpus) for identity in request.ids]
        if len({gpu.uuid for gpu in named}) != len(named):
            raise UsageError("E_GPU_REQUEST", f"--gpus {','.join(request.ids)} names a GPU twice", "name each GPU once")
        return sorted(named, key=lambda gpu: (gpu.index, gpu.uuid)), len(named)
    if request.kind == "all" and working:
        return working, len(working)
    needed = wanted if request.kind == "auto" else max(1, request.count)
    if needed > len(working):
        there = "; ".join(gpu.usage for gpu in gpus) or "none"
        raise UsageError(
            "E_GPU_COUNT",
            f"{needed} GPUs are wanted, and this host has {len(working)} that work: {there}",
            f"--gpus {len(working)}" if working else "--gpus none",
        )
    return sorted(working, key=lambda gpu: (gpu.memory_used_mib, gpu.index)), needed


def _named(identity: str, gpus: Sequence[Gpu]) -> Gpu:
    fitting = [gpu for gpu in gpus if identity in (gpu.uuid, str(gpu.index))]
    if not fitting:
        there = ", ".join(f"{gpu.index} ({gpu.uuid or gpu.problem})" for gpu in gpus) or "none"
        raise NotFoundError("E_GPU_UNKNOWN", f"there is no GPU {identity}; there are: {there}", "nvidia-smi -L")
    if len(fitting) > 1:
        parts = ",".join(gpu.uuid for gpu in fitting)
        raise UsageError("E_GPU_REQUEST", f"GPU {identity} is divided into instances", f"name one: --gpus {parts}")
    if fitting[0].problem:
        raise BackendError("E_GPU_LOST", fitting[0].usage, "--gpus auto takes another one; nvidia-smi says more")
    return fitting[0]


def _try_lock(pool: Sequence[Gpu], needed: int, run_id: str, strict: bool) -> tuple[Reservation | None, dict[str, str]]:
    """All the GPUs that are needed, or None and a line for each that is busy."""
    held: list[tuple[Gpu, int]] = []
    busy: dict[str, str] = {}
    with contextlib.ExitStack() as undo, gpu_locks.choosing():
        for gpu in pool:
            if len(held) == needed:
                break
            lock = gpu_locks.take(gpu.uuid, run_id) if gpu.free or not strict else None
            if lock is not None:
                undo.callback(os.close, lock)
                held.append((gpu, lock))
            else:
                owner = gpu_locks.holder(gpu.uuid)
                busy[gpu.uuid] = f"{gpu.usage}, held by {owner}" if owner else gpu.usage
        if len(held) < needed:
            return None, busy
        undo.pop_all()
    return _reservation(held), busy


def _reservation(held: list[tuple[Gpu, int]]) -> Reservation:
    held = sorted(held, key=lambda pair: (pair[0].index, pair[0].uuid))
    gpus = tuple(gpu for gpu, _lock in held)
    used = "; ".join(gpu.usage for gpu in gpus if not gpu.free)
    return Reservation(
        gpus=gpus,
        ids=tuple(gpu.uuid for gpu in gpus),
        count=len(gpus),
        note=f"taken as asked, although in use: {used}" if used else "",
        fds=tuple(lock for _gpu, lock in held),
    )


class _Waiting:
    """Says who is in the way while a launch waits, and ends the waiting in time."""

    def __init__(self, wait_s: float, say: Callable[[str], None]) -> None:
        self.wait_s, self.say = wait_s, say
        self.began = time.monotonic()
        self.next_word = 0.0
        self.busy: dict[str, str] = {}

    def go_on(self, needed: int, busy: dict[str, str]) -> None:
        """Wait a moment.

        Raises:
            ConflictError: the time is over.
        """
        now, table = time.monotonic(), "; ".join(busy.values())
        if now - self.began >= self.wait_s:
            waited = f" after {self.wait_s:.0f} s of waiting" if self.wait_s else ""
            raise ConflictError(
                "E_GPU_BUSY",
                f"too few free GPUs for the {needed} wanted{waited}: {table}",
                "--wait-gpu 30m, or --gpus none to train on the CPU",
                retryable=True,
            )
        for uuid in set(self.busy) - set(busy):
            self.say(f"{self.busy[uuid].partition(':')[0]} is free now")
        self.busy = busy
        if now >= self.next_word:
            left = self.wait_s - (now - self.began)
            self.say(f"waiting up to {left:.0f} s for {needed} free GPU{'s' if needed > 1 else ''}: {table}")
            self.next_word = now + SAY_EVERY_S
        time.sleep(min(POLL_S, max(0.05, self.wait_s - (now - self.began))))

    def over(self, held: Reservation) -> None:
        """Say what the waiting brought, if there was any."""
        if self.busy:
            names = ", ".join(str(gpu.index) for gpu in held.gpus)
            self.say(f"free now, taking GPU {names} after {time.monotonic() - self.began:.0f} s")

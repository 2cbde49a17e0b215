"""Where trials train at the same time: one per free GPU, or so many on the processors as were asked for."""

from __future__ import annotations

import os
from dataclasses import replace

from skillrun import gpu_locks, gpus
from skillrun.errors import UsageError
from skillrun.hostoptions import HostOptions


class Slots:
    """Hands out places for trials.

    Args:
        host: as the user typed it; ``gpus`` (``auto``, ``all``, a count or ids) is the pool that trials share.
        jobs: most trials at a time; 0: one per free GPU, one where there is none.
        per_trial: GPUs that one trial takes.
        far: the engine is on another host, whose GPUs can not be asked from here.
    """

    def __init__(self, host: HostOptions, jobs: int, per_trial: int, *, far: bool = False) -> None:
        self._host, self._jobs, self._per_trial = host, jobs, max(1, per_trial)
        self._taken: dict[str, tuple[str, ...]] = {}
        self._asked = gpus.parse_request(host.gpus)
        self._on_gpus = not far and self._asked.kind != "none" and bool(gpus.list_gpus())
        if jobs < 0:
            raise UsageError("E_AUTOML_JOBS", f"--jobs {jobs} is below 0", "--jobs 1")

    @property
    def at_once(self) -> int:
        """How many trials run side by side at most, as things are now."""
        if not self._on_gpus:
            return self._jobs or 1
        return max(1, min(self._jobs or len(self._pool()), len(self._pool()) // self._per_trial))

    @property
    def threads(self) -> int:
        """Threads for each trial, where several share the processors; 0: no need to say."""
        return max(1, (os.cpu_count() or 1) // self._jobs) if not self._on_gpus and self._jobs > 1 else 0

    def text(self) -> str:
        """For the review."""
        if not self._on_gpus:
            return f"{self.at_once} at a time on the processors"
        each = "one GPU" if self._per_trial == 1 else f"{self._per_trial} GPUs"
        return f"{self.at_once} at a time, {each} each; free now: {len(self._free())} of {len(self._pool())} GPUs"

    def free(self) -> bool:
        """Whether a trial may start now."""
        if len(self._taken) >= (self._jobs or (1 << 30)):
            return False
        if not self._on_gpus:
            return len(self._taken) < self.at_once
        return len(self._free()) >= self._per_trial

    def free_for(self, asked: str) -> bool:
        """Whether the GPUs that a plan names are free; on the processors any place will do."""
        if not self._on_gpus:
            return self.free()
        return self.free() and set(gpus.parse_request(asked).ids) <= {gpu.uuid for gpu in self._free()}

    def take(self, run_id: str) -> HostOptions:
        """The host options of a trial that takes a free place."""
        chosen = tuple(gpu.uuid for gpu in self._free()[: self._per_trial]) if self._on_gpus else ()
        self._taken[run_id] = chosen
        return replace(self._host, gpus=",".join(chosen)) if chosen else self._host

    def hold(self, run_id: str, asked: str) -> None:
        """A trial that an earlier driver started holds the GPUs of its plan."""
        self._taken[run_id] = gpus.parse_request(asked).ids if self._on_gpus else ()

    def give_back(self, run_id: str) -> None:
        """Its place is free."""
        self._taken.pop(run_id, None)

    def _pool(self) -> list[gpus.Gpu]:
        there = [gpu for gpu in gpus.list_gpus() if not gpu.problem]
        if self._asked.kind == "ids":
            return [gpu for gpu in there if gpu.uuid in self._asked.ids or str(gpu.index) in self._asked.ids]
        return there[: self._asked.count] if self._asked.kind == "count" else there

    def _free(self) -> list[gpus.Gpu]:
        used = {uuid for ids in self._taken.values() for uuid in ids}
        with gpu_locks.choosing():
            return [gpu for gpu in self._pool() if gpu.uuid not in used and gpu.free and not gpu_locks.holder(gpu.uuid)]

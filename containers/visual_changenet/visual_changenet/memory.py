"""How much memory this process took at its peak, on the host and on the GPU."""

from __future__ import annotations

import resource
import sys


def peak_memory() -> dict[str, float]:
    """Megabytes (1e6 bytes): ``memory_mb`` of this process alone, without its loader processes.

    ``gpu_memory_mb`` is what torch reserved on its current device; only where this process computes with CUDA.
    """
    found = {"memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)}
    # Deploy images have no torch, and a process that has not imported it has nothing on a GPU by it.
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found["gpu_memory_mb"] = round(torch.cuda.max_memory_reserved() / 1e6, 1)
    return found

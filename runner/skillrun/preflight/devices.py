"""The GPUs that a process of this host was told to have must be there: the CPU is no answer to ``--gpus 2``."""

from __future__ import annotations

from skillrun import gpus
from skillrun.errors import ConflictError, UsageError
from skillrun.plan import Plan


def check_devices(plan: Plan) -> None:
    """Whether GPUs that were asked for by number, by id or as ``all`` are on this host; ``auto`` and ``none`` pass.

    A container's engine decides by itself; busy GPUs are the business of whoever reserves them.

    Raises:
        UsageError: ``E_GPU_COUNT``: no driver answers, or there are fewer.
        NotFoundError, BackendError: ``E_GPU_UNKNOWN``, ``E_GPU_LOST``, as `gpus.reserve`.
    """
    asked = gpus.parse_request(plan.gpus)
    if plan.backend != "local" or asked.kind in ("auto", "none"):
        return
    found = gpus.driver()
    if not found.version:
        why = found.reason or "no NVIDIA driver answers"
        raise UsageError("E_GPU_COUNT", f"--gpus {plan.gpus}, but {why}: a process here has no GPU", "--gpus none")
    try:
        gpus.reserve(asked, wanted=plan.gpu_count, say=lambda text: None).release()
    except ConflictError:
        return

"""The NVIDIA driver, whether its CUDA serves torch, and the GPUs with who uses them."""

from __future__ import annotations

from collections.abc import Sequence

from skillrun import gpu_locks
from skillrun.doctor.check import Check
from skillrun.doctor.host import torch_cuda
from skillrun.errors import BackendError
from skillrun.gpus import Driver, Gpu, driver, list_gpus

OLDEST_DRIVER = {"11": "450", "12": "525", "13": "580"}


def graphics_checks() -> list[Check]:
    """All checks of this module, in order."""
    found = driver()
    if not found.version:
        text = f"{found.reason}: runs use the CPU"
        return [Check("driver", "warn", text, found.fix or "install NVIDIA's driver, where this host has a GPU")]
    told = f"NVIDIA {found.version}, CUDA up to {found.cuda or '?'}"
    return [Check("driver", "ok", told), check_torch_cuda(found, torch_cuda()), *check_gpus(list_gpus())]


def check_torch_cuda(found: Driver, needed: str) -> Check:
    """The installed torch can use the driver."""
    if not needed:
        text = "torch here has no CUDA, or is absent: local runs use the CPU"
        return Check("CUDA of torch", "warn", text, "pip install torch, in its CUDA build")
    return check_cuda("CUDA of torch", found, needed)


def check_cuda(name: str, found: Driver, needed: str) -> Check:
    """A program built for one CUDA version runs with a driver of the same major version, or a newer one."""
    text = f"needs CUDA {needed}, the driver serves up to {found.cuda or '?'}"
    if found.cuda and _numbers(needed)[:1] > _numbers(found.cuda)[:1]:
        oldest = OLDEST_DRIVER.get(needed.partition(".")[0], "newer")
        return Check(name, "warn", text, f"update the NVIDIA driver {found.version} to {oldest} or later")
    return Check(name, "ok", text)


def check_gpus(gpus: Sequence[Gpu]) -> list[Check]:
    """One line per GPU: free, in use by whom, held by which run, or broken."""
    if not gpus:
        return [Check("GPU", "warn", "the driver finds no GPU", "sudo lspci -d 10de: (is one plugged in?)")]
    holders = _holders(gpus)
    return [_one(gpu, holders.get(gpu.uuid, "")) for gpu in gpus]


def _one(gpu: Gpu, owner: str) -> Check:
    name = f"GPU {gpu.index}"
    text = gpu.usage.removeprefix(name).removeprefix(":").strip()
    if gpu.problem:
        return Check(name, "warn", text, "sudo nvidia-smi --gpu-reset, or reboot")
    if owner:
        return Check(name, "ok", f"held by {owner}: {text}")
    if not gpu.free:
        return Check(name, "warn", f"in use: {text}", "--wait-gpu 30m waits for it")
    return Check(name, "ok", f"free: {text}")


def _holders(gpus: Sequence[Gpu]) -> dict[str, str]:
    try:
        with gpu_locks.choosing():
            return {gpu.uuid: gpu_locks.holder(gpu.uuid) for gpu in gpus if gpu.uuid}
    except BackendError:
        return {}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())

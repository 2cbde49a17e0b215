"""What NVIDIA's management library (NVML) says about this host: the driver, its GPUs, and who uses them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
FREE_BELOW_MIB = 1024
FREE_BELOW_PERCENT = 10


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver on this host.

    Attributes:
        version: e.g. ``550.54.15``; empty where no driver answers.
        cuda: newest CUDA that the driver serves, e.g. ``12.4``; empty where unknown.
        reason: why no driver answers, a sentence without its full stop; empty where one does.
        fix: what to type about that; empty where there is nothing to mend.
    """

    version: str = ""
    cuda: str = ""
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds memory of a GPU. Name and user are empty for processes of another PID namespace."""

    pid: int
    user: str
    name: str
    memory_mib: int | None


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG instance of a divided GPU.

    Attributes:
        index: number on the PCI bus, as ``nvidia-smi`` and ``docker --gpus device=`` count; instances have their GPU's.
        uuid: ``GPU-…`` or ``MIG-…``; empty where the GPU does not answer.
        memory_used_mib: without what the driver keeps for itself.
        utilisation: percent over the last sample; None where the GPU can not tell (MIG instances, some boards).
        problem: why it can not be used, e.g. that it fell off the bus; empty for a healthy one.
    """

    index: int
    uuid: str
    name: str
    memory_total_mib: int = 0
    memory_used_mib: int = 0
    utilisation: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    problem: str = ""

    @property
    def free(self) -> bool:
        """Healthy, less than 1 GiB of its memory used, and less than 10 % busy.

        1 GiB lets a desktop or an idle CUDA context pass, on every size of GPU; a share of the memory would let a
        whole small training pass on a large one. An unknown utilisation counts as idle.
        """
        quiet = self.utilisation is None or self.utilisation < FREE_BELOW_PERCENT
        return not self.problem and quiet and self.memory_used_mib < FREE_BELOW_MIB

    @property
    def usage(self) -> str:
        """One line: memory, utilisation and the processes behind them."""
        if self.problem:
            return f"GPU {self.index}: {self.problem}"
        busy = "" if self.utilisation is None else f", {self.utilisation} % busy"
        users = "; ".join(_process_text(process) for process in self.processes)
        text = f"GPU {self.index} {self.name}: {self.memory_used_mib} of {self.memory_total_mib} MiB used{busy}"
        return f"{text} ({users})" if users else text


def _process_text(process: GpuProcess) -> str:
    memory = "" if process.memory_mib is None else f" {process.memory_mib} MiB"
    return f"pid {process.pid} {process.user or '?'} {process.name or '?'}{memory}"


class NoDriverError(Exception):
    """No driver answers; carries the `Driver` that says why."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver.reason)
        self.driver = driver


def driver() -> Driver:
    """The driver of this host, or why there is none; takes some milliseconds and never raises."""
    try:
        with _nvml() as nvml:
            return _read_driver(nvml)
    except NoDriverError as error:
        return error.driver


def list_gpus() -> tuple[Gpu, ...]:
    """The GPUs of this host in the order of the PCI bus; () where no driver answers.

    A GPU that does not answer is listed with its ``problem``; what a GPU can not tell is None.
    """
    try:
        with _nvml() as nvml:
            count = _ask(nvml.nvmlDeviceGetCount, default=0)
            return tuple(gpu for index in range(count) for gpu in _read_slot(nvml, index))
    except NoDriverError:
        return ()


@contextlib.contextmanager
def _nvml() -> Iterator[Any]:
    try:
        import pynvml
    except ImportError as error:
        raise NoDriverError(
            Driver(reason="the Python package nvidia-ml-py is missing", fix="pip install nvidia-ml-py")
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NoDriverError(_reason(pynvml, error)) from error
    try:
        yield pynvml
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _reason(nvml: Any, error: Any) -> Driver:
    known = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: ("no NVIDIA driver is installed", ""),
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: ("the NVIDIA kernel module is not loaded", "sudo modprobe nvidia"),
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
            "the NVIDIA driver was updated, and the old kernel module is still loaded",
            "sudo reboot",
        ),
        nvml.NVML_ERROR_NO_PERMISSION: ("this user may not open /dev/nvidia*", "ls -l /dev/nvidia*"),
    }
    reason, fix = known.get(error.value, (f"the NVIDIA driver does not answer ({error})", "nvidia-smi"))
    return Driver(reason=reason, fix=fix)


def _read_driver(nvml: Any) -> Driver:
    code = _ask(nvml.nvmlSystemGetCudaDriverVersion_v2, default=0)
    cuda = f"{code // 1000}.{code % 1000 // 10}" if code else ""
    return Driver(version=_ask(nvml.nvmlSystemGetDriverVersion, default="unknown"), cuda=cuda)


def _ask(question: Any, *arguments: Any, default: Any) -> Any:
    """An answer of the library, or the default where this GPU or this driver has none."""
    import pynvml

    try:
        return question(*arguments)
    except pynvml.NVMLError:
        return default


def _read_slot(nvml: Any, index: int) -> list[Gpu]:
    """The GPU with this number, or its MIG instances where it is divided."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = nvml.nvmlDeviceGetUUID(handle)
    except nvml.NVMLError as error:
        lost = error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED)
        what = "fell off the bus; it needs a reset or a reboot" if lost else f"does not answer ({error})"
        return [Gpu(index, "", "?", problem=what)]
    instances = _mig_handles(nvml, handle)
    if instances is None:
        return [_read_gpu(nvml, index, handle, uuid)]
    read = [_read_gpu(nvml, index, part, _ask(nvml.nvmlDeviceGetUUID, part, default="")) for part in instances]
    empty = Gpu(index, uuid, _ask(nvml.nvmlDeviceGetName, handle, default="?"), problem="MIG is on, without instances")
    return read or [empty]


def _mig_handles(nvml: Any, handle: Any) -> list[Any] | None:
    """Handles of a divided GPU's instances; None for a GPU that is not divided."""
    current, _pending = _ask(nvml.nvmlDeviceGetMigMode, handle, default=[0, 0])
    if not current:
        return None
    slots = range(_ask(nvml.nvmlDeviceGetMaxMigDeviceCount, handle, default=0))
    found = (_ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, slot, default=None) for slot in slots)
    return [part for part in found if part is not None]


def _read_gpu(nvml: Any, index: int, handle: Any, uuid: str) -> Gpu:
    memory = _memory(nvml, handle)
    rates = _ask(nvml.nvmlDeviceGetUtilizationRates, handle, default=None)
    return Gpu(
        index=index,
        uuid=uuid,
        name=_ask(nvml.nvmlDeviceGetName, handle, default="?"),
        memory_total_mib=memory.total // MIB if memory else 0,
        memory_used_mib=memory.used // MIB if memory else 0,
        utilisation=None if rates is None else int(rates.gpu),
        processes=_processes(nvml, handle),
        problem="" if memory else "does not tell its memory",
    )


def _memory(nvml: Any, handle: Any) -> Any:
    """Version 2 of the answer tells the driver's own share apart; older drivers know only version 1."""
    second = _ask(nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2, default=None)
    return second or _ask(nvml.nvmlDeviceGetMemoryInfo, handle, default=None)


def _processes(nvml: Any, handle: Any) -> tuple[GpuProcess, ...]:
    found: dict[int, GpuProcess] = {}
    for kind in ("Compute", "Graphics"):
        listing = None
        for version in ("v3", "v2"):
            question = getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses_{version}")
            listing = _ask(question, handle, default=None) if listing is None else listing
        for entry in listing or []:
            used = None if entry.usedGpuMemory is None else entry.usedGpuMemory // MIB
            found.setdefault(entry.pid, GpuProcess(entry.pid, *_who(entry.pid), used))
    return tuple(found[pid] for pid in sorted(found))


def _who(pid: int) -> tuple[str, str]:
    """User and command name of a process; empty where it can not be seen from here."""
    import pwd

    place = Path("/proc") / str(pid)
    try:
        owner = place.stat().st_uid
        name = (place / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "", ""
    try:
        return pwd.getpwuid(owner).pw_name, name
    except KeyError:
        return str(owner), name

"""Rules of the host: room, memory, shared memory, GPUs, file system and clock. Estimates are told as such."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skillrun import gpus
from skillrun.hostoptions import HEADROOM, loader_bytes, parse_size
from skillrun.preflight.facts import Host
from skillrun.preflight.rule import Case, Problem, rule

GIB, MIB = 1 << 30, 1 << 20
# Parameters in millions of the backbone with its decoder; heads of classify come on top.
PARAMETERS = {
    "fan_tiny_8_p4_hybrid": 19,
    "fan_small_12_p4_hybrid": 38,
    "fan_base_16_p4_hybrid": 62,
    "fan_large_16_p4_hybrid": 89,
    "vit_large_nvdinov2": 349,
    "c_radio_v2_vit_base_patch16_224": 125,
    "c_radio_v2_vit_large_patch16_224": 356,
}
HUGE = 699  # the four others
BYTES_PER_PARAMETER = 4
# Copies of the parameters in a checkpoint: weights, and the moments that the optimiser keeps.
COPIES = {"adamw": 3, "adam": 3, "sgd": 2}
# torch and its libraries in the main process, and what a forked loader adds to it.
PROCESS, WORKER = 1 * GIB, 200 * MIB
# The published mask and the heat map of a pair, as raw pixels.
PICTURE_BYTES_PER_PIXEL = 4


def checkpoint_bytes(case: Case) -> int:
    """What one checkpoint of this spec weighs, about."""
    kind = str(case.get("model.backbone.type"))
    copies = COPIES.get(str(case.get("train.optim.optim")), 3)
    return PARAMETERS.get(kind, HUGE) * 10**6 * BYTES_PER_PARAMETER * copies


def checkpoints_kept(case: Case) -> int:
    """One for each interval, the last and the best; by steps at least one an epoch is assumed."""
    epochs = int(case.get("train.num_epochs") or 1)
    every = int(case.get("train.checkpoint_interval") or 1)
    by_step = case.get("train.checkpoint_interval_unit") == "step"
    return epochs + 1 if by_step else -(-epochs // every) + 1


def _disk_wish(case: Case) -> tuple[int, int, str]:
    """(bytes without which nothing can be written, bytes in all, how they are counted)."""
    if case.section == "train":
        one, kept = checkpoint_bytes(case), checkpoints_kept(case)
        # A narrow decoder makes a checkpoint smaller than the estimate: only half of it is surely needed.
        return one // 2, one * kept, f"{kept} checkpoints of about {_gib(one)}"
    pairs = _listed_pairs(case) if case.section in ("evaluate", "inference") else 0
    side = int(case.get("dataset.segment.img_size") or 0)
    pictures = pairs * side * side * PICTURE_BYTES_PER_PIXEL
    return 64 * MIB, 64 * MIB + pictures, f"pictures of {pairs} pairs, at most"


def _listed_pairs(case: Case) -> int:
    root = case.get("dataset.segment.root_dir")
    names = [case.get(f"dataset.segment.{key}") for key in ("predict_split", "test_split")]
    for name in names if root else ():
        path = Path(str(root)) / str(case.get("dataset.segment.list_folder_name") or "list") / f"{name}.txt"
        if path.is_file():
            return path.read_bytes().count(b"\n") + 1
    return 0


@rule("E_HOST_DISK", "host", "The disk has no room for the first file of the run")
def full_disk(case: Case) -> Iterator[Problem]:
    """Not even one checkpoint fits."""
    least, _, _ = _disk_wish(case)
    free = _host(case).disk
    if free is not None and free < least:
        yield Problem(
            f"{_gib(free)} are free below {case.plan.results_dir}, but the run writes at least about {_gib(least)}",
            "--results DIR on a larger disk",
            case.plan.results_dir,
        )


@rule("W_HOST_DISK", "host", "The disk may fill up during the run")
def small_disk(case: Case) -> Iterator[Problem]:
    """All checkpoints or pictures together do not fit."""
    least, most, counted = _disk_wish(case)
    free = _host(case).disk
    if free is None or not least <= free < most:
        return
    fewer = int(case.get("train.num_epochs") or 1)
    by_epoch = case.section == "train" and case.get("train.checkpoint_interval_unit") != "step"
    yield Problem(
        f"{_gib(free)} are free below {case.plan.results_dir}, and the run may write {_gib(most)}: {counted}",
        f"train.checkpoint_interval={fewer}" if by_epoch and fewer > 1 else "--results DIR on a larger disk",
        case.plan.results_dir,
    )


@rule("W_HOST_MEMORY", "host", "Little memory is free for what the run holds")
def memory(case: Case) -> Iterator[Problem]:
    """Processes, waiting batches, and the network where a CPU computes; activations come on top."""
    given = case.plan.resources.get("memory")
    free = min(value for value in (given, _host(case).memory, 1 << 62) if value is not None)
    workers = int(case.get(f"{case.data}.workers") or 0)
    on_cpu = case.plan.gpus == "none"
    copies = 4 if case.section == "train" else 1  # weights, gradients and two moments
    network = PARAMETERS.get(str(case.get("model.backbone.type")), HUGE) * 10**6 * BYTES_PER_PARAMETER * copies
    needed = PROCESS + workers * WORKER + on_cpu * network + loader_bytes(case.spec, case.plan.task)
    if free < needed and case.get(f"{case.data}.batch_size"):
        what = f"--memory gives {_gib(given)}" if given == free else f"{_gib(free)} of memory are free"
        smaller = max(2, int(case.get(f"{case.data}.batch_size")) // 2)
        yield Problem(
            f"{what}, and the run holds about {_gib(needed)} before the first activation: it may be killed",
            f"{case.data}.workers=0 {case.data}.batch_size={smaller}",
        )


@rule("E_HOST_SHM", "host", "Shared memory is too small for the loaders")
def shared_memory(case: Case) -> Iterator[Problem]:
    """Loader processes hand batches over in /dev/shm; where that is full, they end with a bus error."""
    key = f"{case.data}.workers"
    workers = int(case.get(key) or 0)
    local = case.plan.backend == "local"
    there = _host(case).shared_memory if local else parse_size(case.plan.shm_size, "--shm-size")
    needed = int(loader_bytes(case.spec, case.plan.task) * HEADROOM)
    if workers and there is not None and there < needed:
        where = "/dev/shm has" if local else f"--shm-size {case.plan.shm_size} gives"
        yield Problem(
            f"{where} {_gib(there)} free, but {workers} loader processes hold up to {_gib(needed)} there", f"{key}=0"
        )


@rule("W_HOST_NO_GPU", "host", "GPUs are asked for, and no driver answers")
def no_driver(case: Case) -> Iterator[Problem]:
    """The engine decides what to do without; for a process of this host it is an error (`devices.check_devices`)."""
    asked = gpus.parse_request(case.plan.gpus)
    if case.plan.backend != "local" and asked.kind in ("all", "count", "ids") and not _host(case).driver:
        yield Problem(f"--gpus {case.plan.gpus}, but no NVIDIA driver answers on this host", "--gpus none")


@rule("W_HOST_NETWORK_DISK", "host", "Results go to a network file system")
def network_disk(case: Case) -> Iterator[Problem]:
    """Slow to write, and locks or ownership may not work there."""
    found = _host(case).network
    if found.status != "ok":
        yield Problem(f"results below {case.plan.results_dir}: {found.message}", found.fix, case.plan.results_dir)


@rule("W_HOST_CLOCK", "host", "The clock is wrong, or the file system has another time")
def clock(case: Case) -> Iterator[Problem]:
    """Run states compare file times; downloads check certificates by the clock."""
    found = _host(case).clock
    if found.status != "ok":
        yield Problem(found.message, found.fix)


def _host(case: Case) -> Host:
    assert case.host is not None  # `look` runs these rules only then
    return case.host


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / MIB:.0f} MiB"

"""What a user may ask of the host for a run: GPUs, memory, shared memory, limits, variables. Read and checked here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skillrun.errors import UsageError
from skillrun.overrides import get_dotted

_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|(?:^|_)KEY(?:_|$)|API_?KEY", re.IGNORECASE)

# The documented shared memory of each container, and what is kept free of the loaders' own need.
DOCUMENTED_SHM = {"train": 8 * 2**30, "deploy": 16 * 2**30}
PREFETCHED_BATCHES = 2
HEADROOM = 1.5


@dataclass(frozen=True)
class HostOptions:
    """Options as the user typed them; empty means "not said".

    Attributes:
        gpus: ``auto``, ``none``, ``all``, a count, ids (``0,1``) or UUIDs.
        wait_gpu: how long to wait for free GPUs, e.g. ``30m``.
        memory: limit of the container's memory, e.g. ``16g``; cpus: of its processors, e.g. ``4`` or ``1.5``.
        ulimits: ``NAME=SOFT[:HARD]``; env: ``NAME=VALUE``, or ``NAME`` for the caller's own value.
        pull: ``never``, ``missing`` or ``always``.
    """

    gpus: str = "auto"
    wait_gpu: str = ""
    shm_size: str = ""
    memory: str = ""
    cpus: str = ""
    ulimits: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    network: str = ""
    pull: str = "missing"


def parse_size(text: str, option: str) -> int:
    """Bytes of ``8g``, ``512m``, ``1.5GiB`` or ``1048576``; raises UsageError for anything else, and for 0."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size <= 0:
        raise UsageError("E_ARG_SIZE", f"{option} {text!r} is no size", f"{option} 8g (units: k, m, g, t)")
    return size


def parse_duration(text: str, option: str) -> float:
    """Seconds of ``90``, ``30m``, ``2h``; raises UsageError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            "E_ARG_DURATION", f"{option} {text!r} is no length of time", f"{option} 30m (units: s, m, h, d)"
        )
    return float(match[1]) * _SECONDS[match[2].lower()]


def parse_ulimits(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Limits in the engine's form; ``-1`` is unlimited. Raises UsageError."""
    found = []
    for text in texts:
        match = re.fullmatch(r"([a-z]+)=(-?\d+)(?::(-?\d+))?", text.strip())
        if match is None:
            raise UsageError("E_ARG_ULIMIT", f"--ulimit {text!r} is no NAME=SOFT[:HARD]", "--ulimit memlock=-1")
        found.append({"Name": match[1], "Soft": int(match[2]), "Hard": int(match[3] or match[2])})
    return found


def parse_env(texts: Sequence[str]) -> dict[str, str]:
    """Variables for the command.

    Raises:
        UsageError: no name, a name without a value here, or one that looks like a secret: values given this way stand
            in the plan and in the engine's own records.
    """
    found = {}
    for text in texts:
        name, given, value = text.partition("=")
        if not _NAME.fullmatch(name):
            raise UsageError("E_ARG_ENV", f"--env {name!r} is no name of a variable", "--env OMP_NUM_THREADS=4")
        if _SECRET.search(name):
            raise UsageError(
                "E_ARG_ENV_SECRET",
                f"--env {name} looks like a secret, and plan and engine would keep its value readable",
                f"leave out --env {name}: weights are staged on the host, the container needs no login",
            )
        if not given and name not in os.environ:
            raise UsageError("E_ARG_ENV", f"--env {name} has no value, and none is set here", f"--env {name}=VALUE")
        found[name] = value if given else os.environ[name]
    return found


def resources(options: HostOptions) -> dict[str, Any]:
    """Limits for the plan: ``memory`` in bytes, ``cpus``, ``ulimits``; absent where not asked for."""
    found: dict[str, Any] = {}
    if options.memory:
        found["memory"] = parse_size(options.memory, "--memory")
    if options.cpus:
        try:
            found["cpus"] = float(options.cpus)
        except ValueError:
            found["cpus"] = 0.0
        if not 0.01 <= found["cpus"] <= 4096:
            raise UsageError("E_ARG_CPUS", f"--cpus {options.cpus!r} is no number of processors", "--cpus 4")
    if options.ulimits:
        found["ulimits"] = parse_ulimits(options.ulimits)
    return found


def shm_size(values: Mapping[str, Any], container: str) -> str:
    """Shared memory that the loaders need, in whole GiB (``8g``), at least the documented value.

    Every worker holds `PREFETCHED_BATCHES` batches of float32 tensors there, each pair with all its images.
    """
    needed = max(loader_bytes(values, task) for task in ("classify", "segment")) * HEADROOM
    size = max(int(needed), DOCUMENTED_SHM.get(container, DOCUMENTED_SHM["train"]))
    return f"{-(-size // 2**30)}g"


def loader_bytes(values: Mapping[str, Any], task: str) -> int:
    """Bytes of shared memory that the loader processes of a task hold at most, without headroom."""
    section = get_dotted(values, f"dataset.{task}") or {}
    if not section:
        return 0
    if task == "classify":
        pixels = int(section.get("image_width") or 0) * int(section.get("image_height") or 0)
        images = (int(section.get("num_input") or 1)) * (1 + int(section.get("num_golden") or 1))
    else:
        pixels, images = int(section.get("img_size") or 0) ** 2, 3
    batch, workers = int(section.get("batch_size") or 1), int(section.get("workers") or 0)
    return workers * PREFETCHED_BATCHES * batch * images * pixels * 3 * 4


def caller() -> str:
    """``uid:gid`` that should own the results: who called, also through sudo."""
    if os.getuid() == 0 and os.environ.get("SUDO_UID", "").isdigit():
        return f"{os.environ['SUDO_UID']}:{os.environ.get('SUDO_GID') or os.environ['SUDO_UID']}"
    return f"{os.getuid()}:{os.getgid()}"

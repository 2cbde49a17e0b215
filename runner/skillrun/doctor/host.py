"""Python, what local runs import, memory, shared memory and the clock."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import tempfile
import time
from pathlib import Path

from skillrun import __version__
from skillrun.doctor.check import GIB, Check
from skillrun.doctor.storage import nearest_folder
from skillrun.preflight.facts import read_memory

OLDEST_PYTHON = (3, 11)
MEMORY_WARN_GIB = 4
SHM_WARN_GIB = 2
CLOCK_WARN_S = 5.0
SANE_YEARS = range(2025, 2100)
LOCAL_MODULES = ("torch", "lightning", "cv2")


def host_checks(workspace: Path) -> list[Check]:
    """All checks of this module, in order."""
    return [check_python(), check_local_runs(), check_memory(), check_shm(), check_clock(workspace)]


def check_python() -> Check:
    """The interpreter is one that skillrun supports."""
    text = f"Python {platform.python_version()}, skillrun {__version__} ({sys.executable})"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Check("python", "fail", f"{text}: too old", "install Python 3.11 or newer, then pip install skillrun")
    return Check("python", "ok", text)


def check_local_runs() -> Check:
    """Runs without a container need torch, lightning and OpenCV here. Nothing is imported: that takes seconds."""
    missing = [name for name in LOCAL_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        text = f"runs without a container need {', '.join(missing)}, not installed here"
        return Check("local runs", "warn", text, "pip install 'skillrun[local]'")
    cuda = torch_cuda()
    versions = f"torch {importlib.metadata.version('torch')}, lightning {importlib.metadata.version('lightning')}"
    return Check("local runs", "ok", f"{versions}, {f'built for CUDA {cuda}' if cuda else 'CPU only'}")


def torch_cuda() -> str:
    """The CUDA version that the installed torch was built for; empty for a CPU build and where there is no torch."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return ""
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    stated = re.search(r"^cuda\b[^=\n]*=\s*['\"]([0-9.]+)['\"]", text, re.MULTILINE)
    return stated.group(1) if stated else ""


def check_memory() -> Check:
    """Memory that is free for a run, within the limit of the control group."""
    found = read_memory()
    if found is None:
        return Check("memory", "ok", "this system does not tell")
    available, total = found
    text = f"{available / GIB:.1f} of {total / GIB:.1f} GiB free"
    if available < MEMORY_WARN_GIB * GIB:
        return Check("memory", "warn", f"{text}: a training may be killed", "dataset.classify.workers=0, batch_size=1")
    return Check("memory", "ok", text)


def check_shm() -> Check:
    """Loader processes of local runs hand pictures over in /dev/shm; containers get their own."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return Check("shared memory", "warn", "there is no /dev/shm: local runs need workers=0", "mount it as a tmpfs")
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    text = f"/dev/shm: {free / GIB:.1f} of {size / GIB:.1f} GiB free (containers get their own)"
    if free < SHM_WARN_GIB * GIB:
        fix = "sudo mount -o remount,size=8g /dev/shm (in a container: start it with --shm-size 8g)"
        return Check("shared memory", "warn", f"{text}: local runs with workers may end in a bus error", fix)
    return Check("shared memory", "ok", text)


def check_clock(workspace: Path) -> Check:
    """The year is sane, and the workspace's file system has the same time: run states compare file times."""
    fix = "sudo timedatectl set-ntp true"
    year = time.gmtime().tm_year
    if year not in SANE_YEARS:
        return Check("clock", "warn", f"this host believes it is {year}: downloads will be refused", fix)
    try:
        with tempfile.TemporaryFile(dir=nearest_folder(workspace)) as probe:
            probe.write(b"x")
            probe.flush()
            apart = os.fstat(probe.fileno()).st_mtime - time.time()
    except OSError:
        return Check("clock", "ok", f"{time.strftime('%Y-%m-%d %H:%M %Z')} (the workspace takes no file to compare)")
    if abs(apart) > CLOCK_WARN_S:
        return Check("clock", "warn", f"the workspace's file system is {apart:+.0f} s from this host's clock", fix)
    return Check("clock", "ok", f"{time.strftime('%Y-%m-%d %H:%M %Z')}, the same on the workspace's file system")

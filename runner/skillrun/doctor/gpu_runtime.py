"""Whether an engine can give GPUs to containers, and the command that makes it so."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.doctor.check import Check
from skillrun.runfolder import read_json

HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
CDI_FOLDERS = ("etc/cdi", "var/run/cdi")
INSTALL = {
    "debian": "sudo apt-get install -y",
    "ubuntu": "sudo apt-get install -y",
    "fedora": "sudo dnf install -y",
    "rhel": "sudo dnf install -y",
    "suse": "sudo zypper install -y",
    "arch": "sudo pacman -S",
}


@dataclass(frozen=True)
class ToolkitState:
    """What this host has of NVIDIA's container toolkit.

    Attributes:
        installed: its hook is on PATH.
        configured: the engine's ``daemon.json`` names the runtime ``nvidia``.
        cdi: a device description for containers lies in one of the usual folders.
        install: the package command of this distribution, e.g. ``sudo apt-get install -y``.
    """

    installed: bool
    configured: bool
    cdi: bool
    install: str


def toolkit_state(root: Path = Path("/")) -> ToolkitState:
    """Look at this host; ``root`` is where its file system begins."""
    daemon = read_json(root / "etc/docker/daemon.json") or {}
    words = _os_words(root)
    return ToolkitState(
        installed=any(shutil.which(hook) for hook in HOOKS),
        configured="nvidia" in (daemon.get("runtimes") or {}),
        cdi=any(path.suffix in (".yaml", ".json") for place in CDI_FOLDERS for path in (root / place).glob("nvidia*")),
        install=next((INSTALL[word] for word in words if word in INSTALL), INSTALL["debian"]),
    )


def check_gpu_runtime(info: Mapping[str, Any], has_driver: bool, here: ToolkitState | None) -> Check:
    """Judge what an engine tells of itself.

    Args:
        info: the engine's answer to ``docker info``.
        has_driver: whether this host has a driver.
        here: this host's toolkit; None for an engine on another host.
    """
    if "nvidia" in (info.get("Runtimes") or {}):
        return Check("GPU runtime", "ok", "the engine has the runtime nvidia")
    if here is not None and not has_driver:
        return Check("GPU runtime", "ok", "not needed: there is no GPU driver here")
    if any("nvidia" in str(device.get("ID")) for device in info.get("DiscoveredDevices") or []):
        text = "the engine knows the GPUs through CDI only; --gpus may need the runtime nvidia"
        return Check("GPU runtime", "warn", text, runtime_fix(info, here))
    if here is None:
        return Check("GPU runtime", "warn", "the engine's host has no runtime nvidia", runtime_fix(info, None))
    return Check("GPU runtime", "warn", _reason(info, here), runtime_fix(info, here))


def _reason(info: Mapping[str, Any], here: ToolkitState) -> str:
    if is_snap(info):
        return "the engine is the snap package, which does not see NVIDIA's toolkit"
    if here.configured:
        return "the runtime nvidia is configured, and the engine was not restarted since"
    if here.installed:
        return "NVIDIA's toolkit is installed, and the engine is not configured for it"
    more = " (a CDI description exists)" if here.cdi else ""
    return f"NVIDIA's container toolkit is missing: containers get no GPU{more}"


def runtime_fix(info: Mapping[str, Any], here: ToolkitState | None) -> str:
    """What to type so that ``--gpus`` works on this engine."""
    if is_snap(info):
        return "use the distribution's engine: sudo snap remove docker && sudo apt-get install -y docker.io"
    rootless = "name=rootless" in (info.get("SecurityOptions") or [])
    restart = "systemctl --user restart docker" if rootless else "sudo systemctl restart docker"
    sudo, place = ("", " --config=$HOME/.config/docker/daemon.json") if rootless else ("sudo ", "")
    configure = f"{sudo}nvidia-ctk runtime configure --runtime=docker{place} && {restart}"
    if here is None:
        return f"on the engine's host: {configure}"
    if here.configured:
        return restart
    return configure if here.installed else f"{here.install} nvidia-container-toolkit && {configure}"


def is_snap(info: Mapping[str, Any]) -> bool:
    """True for the engine of Ubuntu's snap package."""
    return str(info.get("DockerRootDir", "")).startswith("/var/snap/")


def _os_words(root: Path) -> list[str]:
    """This distribution's id, and those that it is like."""
    try:
        lines = (root / "etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "").split()

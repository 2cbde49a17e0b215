"""The exact request to the engine for a plan, and the ``docker run`` line that means the same. Nothing is asked."""

from __future__ import annotations

import csv
import io
import shlex
from typing import Any

from skillrun.hostoptions import parse_size
from skillrun.plan import Plan

RUN_LABEL, PLAN_LABEL, FOLDER_LABEL = "skillrun.run", "skillrun.plan", "skillrun.dir"
STOP_GRACE_S = 30
# What GPU runs ask for: pinned host memory, and the stack that the published documents name.
GPU_ULIMITS = ({"Name": "memlock", "Soft": -1, "Hard": -1}, {"Name": "stack", "Soft": 2**26, "Hard": 2**26})
# Of the caller's world, only what programs expect to find: a home that can be written and a user name.
HOME = "/tmp"


def container_name(run_id: str) -> str:
    """The name under which a run's container is found by people; programs go by the label."""
    return f"skillrun-{run_id}"


def request(plan: Plan) -> dict[str, Any]:
    """Name and body of the engine's ``POST /containers/create`` for this plan."""
    uses_gpus = plan.gpus != "none"
    env = {"HOME": HOME, "USER": "skillrun", **plan.env}
    if not uses_gpus:
        env["NVIDIA_VISIBLE_DEVICES"] = "void"
    body: dict[str, Any] = {
        "Image": plan.image,
        "Cmd": list(plan.argv),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "User": plan.user,
        "Labels": {RUN_LABEL: plan.run_id, PLAN_LABEL: plan.plan_hash, FOLDER_LABEL: plan.run_dir},
        "StopSignal": "SIGTERM",
        "StopTimeout": STOP_GRACE_S,
        "HostConfig": _host_config(plan, uses_gpus),
    }
    return {"name": container_name(plan.run_id), "body": body}


def _host_config(plan: Plan, uses_gpus: bool) -> dict[str, Any]:
    limits = plan.resources
    config: dict[str, Any] = {
        "Mounts": [
            {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
            for mount in plan.mounts
        ],
        "NetworkMode": plan.network,
        "ShmSize": parse_size(plan.shm_size, "--shm-size"),
        "Init": True,
        "AutoRemove": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        # NVIDIA's container compiles and caches inside itself.
        "ReadonlyRootfs": plan.container == "skillrun",
        "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "100m", "max-file": "2"}},
    }
    if "memory" in limits:
        # Equal limits leave no swap: a run that outgrows its memory ends instead of crawling.
        config["Memory"] = config["MemorySwap"] = limits["memory"]
    if "cpus" in limits:
        config["NanoCpus"] = int(limits["cpus"] * 1e9)
    if ulimits := limits.get("ulimits") or (list(GPU_ULIMITS) if uses_gpus else []):
        config["Ulimits"] = ulimits
    if uses_gpus:
        config["DeviceRequests"] = [_devices(plan)]
    return config


def _devices(plan: Plan) -> dict[str, Any]:
    """``auto`` that nobody resolved asks for as many as the spec expects; ``all`` for all; a count or ids as given."""
    wanted: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]]}
    if plan.gpus in ("auto", "all"):
        return {**wanted, "Count": plan.gpu_count if plan.gpus == "auto" else -1}
    if plan.gpus.isdigit():
        return {**wanted, "Count": int(plan.gpus)}
    return {**wanted, "DeviceIDs": plan.gpus.removeprefix("device=").split(",")}


def command_line(made: dict[str, Any]) -> str:
    """The ``docker run`` line for a request: same container, started in the foreground."""
    body, host = made["body"], made["body"]["HostConfig"]
    words = ["docker", "run", "--name", made["name"], "--init", "--user", body["User"]]
    words += ["--network", host["NetworkMode"], "--shm-size", str(host["ShmSize"]), "--cap-drop", "ALL"]
    words += ["--security-opt", "no-new-privileges", "--stop-timeout", str(body["StopTimeout"])]
    words += ["--read-only"] if host["ReadonlyRootfs"] else []
    for place, options in host["Tmpfs"].items():
        words += ["--tmpfs", f"{place}:{options}"]
    for name in ("max-size", "max-file"):
        words += ["--log-opt", f"{name}={host['LogConfig']['Config'][name]}"]
    words += ["--memory", str(host["Memory"]), "--memory-swap", str(host["MemorySwap"])] if "Memory" in host else []
    words += ["--cpus", f"{host['NanoCpus'] / 1e9:g}"] if "NanoCpus" in host else []
    for limit in host.get("Ulimits", ()):
        words += ["--ulimit", f"{limit['Name']}={limit['Soft']}:{limit['Hard']}"]
    for devices in host.get("DeviceRequests", ()):
        words += ["--gpus", _gpus_word(devices)]
    for mount in host["Mounts"]:
        words += ["--mount", _mount_word(mount)]
    for entry in body["Env"]:
        words += ["--env", entry]
    for name, value in body["Labels"].items():
        words += ["--label", f"{name}={value}"]
    return shlex.join([*words, body["Image"], *body["Cmd"]])


def _gpus_word(devices: dict[str, Any]) -> str:
    if "DeviceIDs" in devices:
        return _fields(f"device={','.join(devices['DeviceIDs'])}")
    return "all" if devices["Count"] == -1 else str(devices["Count"])


def _mount_word(mount: dict[str, Any]) -> str:
    read_only = ["readonly"] if mount["ReadOnly"] else []
    return _fields(f"type={mount['Type']}", f"source={mount['Source']}", f"target={mount['Target']}", *read_only)


def _fields(*fields: str) -> str:
    """One line of CSV, as the Docker command reads these options; a comma in a path is quoted."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()

"""The request to the engine, before any engine sees it."""

from __future__ import annotations

import csv
import shlex
from typing import Any

import pytest

from skillrun.backends.docker_request import command_line, request
from skillrun.plan import Mount, Plan

ODD = "/d/a b'c\"ü,é$x"


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "run_id": "one",
        "run_dir": f"{ODD}/runs/one",
        "model": "visual_changenet",
        "action": "train",
        "task": "classify",
        "backend": "docker",
        "image": "skillrun/x:1",
        "argv": ("visual_changenet", "train", "-e", "/skillrun/run/spec.container.yaml"),
        "env": {"SKILLRUN_RUN_DIR": "/skillrun/run", "ODD": "a b"},
        "mounts": (
            Mount(source=f"{ODD}/runs/one", target="/skillrun/run", read_only=False, kind="dir"),
            Mount(source=ODD, target="/data/a", read_only=True, kind="dir"),
            Mount(source=ODD, target="/data/b", read_only=True, kind="dir"),
        ),
        "gpus": "none",
        "user": "12345:12345",
        "results_dir": f"{ODD}/runs/one/results",
        "spec_text": "task: classify\n",
    }
    return Plan(**{**values, **changes}).hashed()


def test_a_run_gets_no_rights_it_does_not_need() -> None:
    body = request(plan())["body"]
    host = body["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"], host["NetworkMode"]) == (["ALL"], ["no-new-privileges"], "none")
    assert host["ReadonlyRootfs"] and host["Init"] and not host["AutoRemove"]
    assert [mount["Target"] for mount in host["Mounts"] if not mount["ReadOnly"]] == ["/skillrun/run"]
    assert body["User"] == "12345:12345"
    assert {"HOME=/tmp", "USER=skillrun", "NVIDIA_VISIBLE_DEVICES=void"} <= set(body["Env"])
    assert body["Labels"]["skillrun.run"] == "one"
    assert body["Labels"]["skillrun.plan"] == plan().plan_hash


def test_the_same_folder_may_be_mounted_twice() -> None:
    mounts = request(plan())["body"]["HostConfig"]["Mounts"]
    assert [(mount["Source"], mount["Target"]) for mount in mounts[1:]] == [(ODD, "/data/a"), (ODD, "/data/b")]


@pytest.mark.parametrize(
    ("gpus", "count", "device"),
    [
        ("all", 1, {"Count": -1}),
        ("2", 2, {"Count": 2}),
        ("auto", 3, {"Count": 3}),
        ("0,2", 2, {"DeviceIDs": ["0", "2"]}),
        ("device=1", 1, {"DeviceIDs": ["1"]}),
        ("GPU-aa,GPU-bb", 2, {"DeviceIDs": ["GPU-aa", "GPU-bb"]}),
    ],
)
def test_every_way_to_name_gpus_becomes_a_device_request(gpus: str, count: int, device: dict[str, Any]) -> None:
    body = request(plan(gpus=gpus, gpu_count=count))["body"]
    assert body["HostConfig"]["DeviceRequests"] == [{"Driver": "", "Capabilities": [["gpu"]], **device}]
    assert not any(entry.startswith("NVIDIA_VISIBLE_DEVICES") for entry in body["Env"])
    assert [limit["Name"] for limit in body["HostConfig"]["Ulimits"]] == ["memlock", "stack"]


def test_limits_are_the_ones_asked_for() -> None:
    limits = {"memory": 2**28, "cpus": 1.5, "ulimits": [{"Name": "nofile", "Soft": 64, "Hard": 128}]}
    host = request(plan(shm_size="9g", resources=limits))["body"]["HostConfig"]
    assert (host["ShmSize"], host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (9 * 2**30, 2**28, 2**28, 1.5e9)
    assert host["Ulimits"] == limits["ulimits"]
    assert "Ulimits" not in request(plan())["body"]["HostConfig"]


def test_nvidias_image_may_write_inside_itself() -> None:
    assert not request(plan(container="tao"))["body"]["HostConfig"]["ReadonlyRootfs"]


def test_the_printed_line_is_the_same_request() -> None:
    made = request(plan(gpus="GPU-aa,GPU-bb", gpu_count=2, resources={"memory": 2**30, "cpus": 2}))
    words = shlex.split(command_line(made))
    options = [words[number + 1] for number, word in enumerate(words) if word == "--mount"]
    read = [dict(field.partition("=")[::2] for field in next(csv.reader([option]))) for option in options]
    assert [(mount["source"], mount["target"], "readonly" in mount) for mount in read] == [
        (mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in made["body"]["HostConfig"]["Mounts"]
    ]
    assert words[-len(made["body"]["Cmd"]) - 1 :] == ["skillrun/x:1", *made["body"]["Cmd"]]
    assert next(csv.reader([words[words.index("--gpus") + 1]])) == ["device=GPU-aa,GPU-bb"]
    for option in ("--read-only", "--init", "--memory", "--cpus", "--shm-size"):
        assert option in words
    envs = [words[number + 1] for number, word in enumerate(words) if word == "--env"]
    assert envs == made["body"]["Env"]

"""The doctor: the real command in real surroundings, and its judgement of hosts that are not here."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skillrun.doctor import Check
from skillrun.doctor.containers import check_engine
from skillrun.doctor.gpu_runtime import ToolkitState, check_gpu_runtime, toolkit_state
from skillrun.doctor.graphics import check_cuda
from skillrun.doctor.hub import check_offline, check_token
from skillrun.doctor.storage import check_network, check_room, mount_of, read_mounts
from skillrun.gpus import Driver

COMMAND = "import sys, typer\n{before}\nfrom skillrun.cli.doctor import doctor\ntyper.run(doctor)\n"
CANARY = "hf_canaryCANARYcanary"
STATUSES = {"ok", "warn", "fail"}

Doctor = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def doctor(workspace: Path) -> Doctor:
    """Runs the doctor on an empty workspace with an engine that is not there, unless told otherwise."""

    def run(*arguments: str, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": f"unix://{workspace}/no.sock", **variables}
        command = [sys.executable, "-c", COMMAND.format(before=before), *arguments]
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )

    return run


def by_name(finished: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(finished.stdout)["checks"]}


def test_one_line_and_one_fix_each_in_a_fixed_order(doctor: Doctor) -> None:
    finished = doctor()
    assert finished.returncode == 0, finished.stdout
    lines = finished.stdout.splitlines()
    heads = [line for line in lines if line.startswith(("✓ ", "! ", "✗ "))]
    fixes = [line for line in lines if line.startswith("    fix: ")]
    assert len(heads) + len(fixes) == len(lines)
    names = [head[2:].partition(":")[0] for head in heads]
    wanted = ["python", "local runs", "memory", "shared memory", "clock", "workspace disk", "cache disk", "engine"]
    assert [name for name in names if name in wanted] == wanted
    assert names[-1] == "runs"
    assert len(fixes) == sum(head.startswith(("! ", "✗ ")) for head in heads)
    assert " ok, " in finished.stderr


def test_json_holds_every_check_and_the_verdict(doctor: Doctor) -> None:
    finished = doctor("--json")
    answer = json.loads(finished.stdout)
    assert (answer["schema_version"], answer["ok"], finished.stderr) == (1, True, "")
    for check in answer["checks"]:
        assert check["status"] in STATUSES
        assert check["message"]
        assert "\n" not in check["message"] + check["fix"]
        assert check["status"] == "ok" or check["fix"]


def test_an_engine_that_is_not_there_is_said_and_local_runs_go_on(doctor: Doctor) -> None:
    found = by_name(doctor("--json"))
    assert found["engine"]["status"] == "warn"
    assert "no.sock" in found["engine"]["message"]
    assert found["runs"]["message"] == "can start with --backend local"


def test_neither_torch_nor_an_engine_is_a_failure(doctor: Doctor) -> None:
    finished = doctor("--json", before="sys.modules['torch'] = None")
    found = by_name(finished)
    assert finished.returncode == 3
    assert found["runs"]["status"] == "fail"
    assert "torch" in found["local runs"]["message"]


def test_a_workspace_that_can_not_be_written_is_a_failure(doctor: Doctor, workspace: Path) -> None:
    (workspace / "file").touch()
    finished = doctor("--json", "--workspace", str(workspace / "file"))
    assert finished.returncode == 3
    assert by_name(finished)["workspace disk"]["status"] == "fail"


def test_the_doctor_changes_nothing(doctor: Doctor, workspace: Path) -> None:
    doctor("--workspace", str(workspace / "not yet" / "there"))
    assert list(workspace.iterdir()) == []


def test_a_token_is_never_shown(doctor: Doctor, workspace: Path) -> None:
    token = workspace / "token"
    token.write_text(CANARY, encoding="utf-8")
    token.chmod(0o600)
    for variables in ({"HF_TOKEN": CANARY}, {"HF_TOKEN": "", "HF_TOKEN_PATH": str(token)}):
        finished = doctor("--json", **variables)
        assert CANARY not in finished.stdout + finished.stderr
        assert by_name(finished)["hub token"]["message"].startswith("present in ")


@pytest.fixture
def silent_engine(tmp_path: Path) -> Iterator[Path]:
    """A socket that takes connections and never answers."""
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        yield path


def test_an_engine_that_never_answers_does_not_hold_the_others_up(doctor: Doctor, silent_engine: Path) -> None:
    began = time.monotonic()
    finished = doctor("--json", DOCKER_HOST=f"unix://{silent_engine}")
    assert time.monotonic() - began < 15
    found = by_name(finished)
    assert finished.returncode == 0
    assert "no answer within" in found["engine"]["message"]
    assert "hub token" in found


def test_the_driver_and_every_gpu_have_a_line(doctor: Doctor, workspace: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in library")
    source = Path(__file__).with_name("nvml_standin.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(workspace / "libnvidia-ml.so.1"), str(source)], check=True)
    gpus = [
        "gpu GPU-a NVIDIA_H200 total 143771 used 3 util 0 error 0 mig 0",
        "gpu GPU-b NVIDIA_H200 total 143771 used 9000 util 80 error 0 mig 0",
        f"proc {os.getpid()} 8000",
        "gpu GPU-c NVIDIA_H200 total 143771 used 3 util 0 error 15 mig 0",
    ]
    (workspace / "state").write_text("\n".join(["driver 550.54.15 12040", *gpus]), encoding="utf-8")
    variables = {
        "LD_LIBRARY_PATH": str(workspace),
        "NVML_STANDIN": str(workspace / "state"),
        "SKILLRUN_GPU_LOCKS": str(workspace / "locks"),
    }
    found = by_name(doctor("--json", **variables))
    assert found["driver"]["message"] == "NVIDIA 550.54.15, CUDA up to 12.4"
    assert [found[f"GPU {index}"]["status"] for index in range(3)] == ["ok", "warn", "warn"]
    assert f"pid {os.getpid()} " in found["GPU 1"]["message"]
    assert "fell off the bus" in found["GPU 2"]["message"]
    assert not any(check["status"] == "fail" for check in found.values())


@pytest.mark.skipif(os.getuid() != 0, reason="needs to mount a small file system")
def test_a_full_disk_is_a_failure(doctor: Doctor, workspace: Path) -> None:
    small = workspace / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("this host mounts nothing")
    try:
        finished = doctor("--json", "--workspace", str(small))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert finished.returncode == 3
    assert "full" in by_name(finished)["workspace disk"]["message"]


MOUNTINFO = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:50 / /data\\040of\\040all rw - nfs4 server:/export\\040one rw,vers=4.2
41 40 0:51 / /data\\040of\\040all/scratch rw shared:1 - xfs /dev/vdb rw
42 27 0:52 / /over rw - ext4 /dev/vdc rw
43 27 0:53 / /over rw - lustre 10.0.0.1@tcp:/fs rw
44 27 0:54 / /bucket rw - fuse.s3fs s3fs rw
45 27 0:55 / /pool rw - fuse.mergerfs a:b rw
broken line
"""


@pytest.mark.parametrize(
    ("place", "kind", "network"),
    [
        ("/", "ext4", False),
        ("/data of all/runs", "nfs4", True),
        ("/data of all/scratch/runs", "xfs", False),
        ("/data of all more", "ext4", False),
        ("/over/x", "lustre", True),
        ("/bucket/x", "fuse.s3fs", True),
        ("/pool/x", "fuse.mergerfs", False),
    ],
)
def test_the_file_system_below_a_path_is_the_deepest_and_latest_mount(
    tmp_path: Path, place: str, kind: str, network: bool
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTINFO, encoding="utf-8")
    found = mount_of(Path(place), read_mounts(table))
    assert found is not None
    assert (found.kind, found.network) == (kind, network)


def test_a_network_file_system_is_named_with_its_server(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n40 27 0:50 / {tmp_path} rw - nfs4 nas:/x rw\n", "utf-8")
    check = check_network("cache file system", tmp_path / "not" / "there", "export SKILLRUN_CACHE=DIR", table)
    assert check.status == "warn"
    assert "nfs4 from nas:/x" in check.message
    assert check_network("cache file system", tmp_path, "", tmp_path / "absent").status == "ok"


def test_little_room_is_a_warning_with_its_fix(tmp_path: Path) -> None:
    check = check_room("cache disk", tmp_path, 1e9, "export SKILLRUN_CACHE=DIR")
    assert (check.status, check.fix) == ("warn", "export SKILLRUN_CACHE=DIR")
    assert check_room("cache disk", tmp_path, 0, "").status == "ok"


BARE = ToolkitState(installed=False, configured=False, cdi=False, install="sudo apt-get install -y")
INSTALLED = ToolkitState(installed=True, configured=False, cdi=False, install="sudo apt-get install -y")
CONFIGURED = ToolkitState(installed=True, configured=True, cdi=True, install="sudo dnf install -y")
RUNC = {"Runtimes": {"runc": {}}}


@pytest.mark.parametrize(
    ("info", "driver", "here", "status", "fix"),
    [
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, True, INSTALLED, "ok", ""),
        (RUNC, False, BARE, "ok", ""),
        (RUNC, True, BARE, "warn", "sudo apt-get install -y nvidia-container-toolkit && sudo nvidia-ctk runtime"),
        (RUNC, True, INSTALLED, "warn", "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl"),
        (RUNC, True, CONFIGURED, "warn", "sudo systemctl restart docker"),
        ({**RUNC, "SecurityOptions": ["name=rootless"]}, True, CONFIGURED, "warn", "systemctl --user restart docker"),
        ({**RUNC, "SecurityOptions": ["name=rootless"]}, True, INSTALLED, "warn", "nvidia-ctk runtime configure"),
        ({**RUNC, "DockerRootDir": "/var/snap/docker/common/x"}, True, BARE, "warn", "use the distribution's engine"),
        ({**RUNC, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}, True, BARE, "warn", "sudo apt"),
        (RUNC, False, None, "warn", "on the engine's host: sudo nvidia-ctk"),
    ],
)
def test_a_missing_gpu_runtime_is_told_with_the_command_of_this_host(
    info: dict[str, Any], driver: bool, here: ToolkitState | None, status: str, fix: str
) -> None:
    check = check_gpu_runtime(info, driver, here)
    assert check.status == status
    assert check.fix.startswith(fix)
    assert bool(check.fix) == (status != "ok")


def test_the_toolkit_is_looked_up_where_it_is_configured(tmp_path: Path) -> None:
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/cdi").mkdir()
    (tmp_path / "etc/cdi/nvidia.yaml").touch()
    (tmp_path / "etc/docker/daemon.json").write_text('{"runtimes": {"nvidia": {}}}', encoding="utf-8")
    (tmp_path / "etc/os-release").write_text('ID="rocky"\nID_LIKE="rhel centos fedora"\n', encoding="utf-8")
    found = toolkit_state(tmp_path)
    assert (found.configured, found.cdi, found.install) == (True, True, "sudo dnf install -y")
    empty = toolkit_state(tmp_path / "nothing")
    assert (empty.configured, empty.cdi) == (False, False)


@pytest.mark.parametrize(
    ("serves", "needs", "status"),
    [
        ("12.4", "12.8", "ok"),
        ("12.4", "11.8", "ok"),
        ("12.4", "13.0", "warn"),
        ("13.0", "13.0.1", "ok"),
        ("", "12", "ok"),
    ],
)
def test_cuda_of_a_newer_major_version_needs_a_newer_driver(serves: str, needs: str, status: str) -> None:
    check = check_cuda("CUDA of torch", Driver(version="550.54.15", cuda=serves), needs)
    assert check.status == status
    assert status == "ok" or "580 or later" in check.fix


@pytest.mark.parametrize(
    ("info", "api", "status", "word"),
    [
        ({"MemoryLimit": True, "SecurityOptions": ["name=seccomp,profile=default"]}, "1.41", "ok", "cgroup v1"),
        ({"MemoryLimit": True, "SecurityOptions": ["name=rootless"], "CgroupVersion": "2"}, "1.47", "ok", "rootless"),
        ({"MemoryLimit": False, "SecurityOptions": ["name=rootless"]}, "1.47", "warn", "--memory"),
        ({"MemoryLimit": True, "SecurityOptions": ["name=userns"]}, "1.41", "warn", "shifted user"),
        ({"MemoryLimit": True}, "1.39", "warn", "too old"),
    ],
)
def test_traits_of_an_engine_that_change_runs_are_told(info: dict[str, Any], api: str, status: str, word: str) -> None:
    check = check_engine(info, api, "unix:///run/docker.sock", "default")
    assert check.status == status
    assert word in check.message


def test_a_token_file_that_others_can_read_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    place = tmp_path / "token"
    monkeypatch.setenv("HF_TOKEN_PATH", str(place))
    assert check_token() == Check("hub token", "ok", "none: public weights need none; for gated ones: hf auth login")
    place.touch(0o600)
    assert check_token().status == "warn"
    place.write_text(CANARY, encoding="utf-8")
    assert check_token().status == "ok"
    place.chmod(0o644)
    assert check_token().fix == f"chmod 600 '{place}'"


def test_offline_mode_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert check_offline().message.startswith("off")
    monkeypatch.setenv("HF_HUB_OFFLINE", "true")
    assert "HF_HUB_OFFLINE is on" in check_offline().message

"""What happens to runs when the engine itself is special: it hands out GPUs, restarts, or is on another host.

These tests start an engine of their own, in a network of its own, so that it may be killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import docker
from docker import DockerClient
from skillrun.backends import get_backend
from skillrun.backends.conformance import DockerConformance, finish, wait_until
from skillrun.backends.docker_end import remove
from skillrun.errors import BackendError, SkillrunError
from skillrun.launch import launch
from skillrun.plan import Mount, Plan
from skillrun.runfolder import RunFolder
from skillrun.watch import status

ENGINE_SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "engine.sh"
QUIET_HOOK = "#!/bin/sh\ncat >/dev/null; exit 0\n"
BROKEN_HOOK = """#!/bin/sh
cat >/dev/null
echo "nvidia-container-cli: initialization error: nvml error: driver not loaded" >&2
exit 1
"""
WAITS = "event(event='start')\nprint('before', flush=True)\nwhile not (run / 'go').exists(): time.sleep(0.02)\n"
REMOTE_ONLY = "elsewhere"


class OwnEngine:
    """A second engine. It does not see what lies in its folder ``elsewhere``, as if it were on another host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hook = folder / "bin" / "nvidia-container-runtime-hook"
        self.hook.parent.mkdir(parents=True)
        self.write_hook(QUIET_HOOK)
        (folder / REMOTE_ONLY).mkdir()
        self.host = f"unix://{folder}/engine/docker.sock"

    def write_hook(self, text: str) -> None:
        self.hook.write_text(text, encoding="utf-8")
        self.hook.chmod(0o755)

    def start(self, *flags: str) -> None:
        hidden = f"mount -t tmpfs none '{self.folder / REMOTE_ONLY}' && exec '{ENGINE_SCRIPT}' start"
        done = subprocess.run(
            ["unshare", "--net", "--mount", "sh", "-c", hidden],
            env={
                **os.environ,
                "ENGINE_DIR": str(self.folder / "engine"),
                "ENGINE_PATH": str(self.hook.parent),
                "ENGINE_FLAGS": " ".join(("--bridge=none --iptables=false --ip6tables=false", *flags)),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    def kill(self) -> None:
        pid = int((self.folder / "engine" / "dockerd.pid").read_text(encoding="utf-8"))
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists())

    def stop(self) -> None:
        """With live-restore, containers would outlive it."""
        client = docker.DockerClient(self.host)
        for container in client.containers.list(all=True, ignore_removed=True):
            remove(container)
        client.close()
        subprocess.run(
            [str(ENGINE_SCRIPT), "stop"], env={**os.environ, "ENGINE_DIR": str(self.folder / "engine")}, check=False
        )


@pytest.fixture(scope="module")
def own_engine(engine: DockerClient, base_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    if os.getuid() != 0:
        pytest.skip("starting an engine needs root")
    made = OwnEngine(tmp_path_factory.mktemp("engine"))
    try:
        made.start("--live-restore")
        client = docker.DockerClient(made.host)
        client.images.load(b"".join(engine.images.get(base_image).save(named=True)))
        client.close()
        yield made
    finally:
        made.stop()


@pytest.fixture
def there(own_engine: OwnEngine, monkeypatch: pytest.MonkeyPatch) -> OwnEngine:
    """The second engine is the one that is meant."""
    monkeypatch.setenv("DOCKER_HOST", own_engine.host)
    own_engine.write_hook(QUIET_HOOK)
    return own_engine


class Suite(DockerConformance):
    image = "skillrun-base:ci"


suite = Suite()


def launched(folder: Path, program: str, **changes: Any) -> RunFolder:
    return launch(plan(folder, program, **changes))


def plan(folder: Path, program: str, **changes: Any) -> Plan:
    run = RunFolder(folder / "runs" / f"{time.time_ns() // 1000 % 10**10:010d}-train")
    return suite.make_plan(run, program, **changes)


@pytest.mark.parametrize(
    ("gpus", "devices", "inside"),
    [
        ("all", {"Count": -1, "DeviceIDs": None}, "all"),
        ("2", {"Count": 2, "DeviceIDs": None}, "0,1"),
        ("0,2", {"Count": 0, "DeviceIDs": ["0", "2"]}, "0,2"),
        ("GPU-8f1c,GPU-92aa", {"Count": 0, "DeviceIDs": ["GPU-8f1c", "GPU-92aa"]}, "GPU-8f1c,GPU-92aa"),
        ("none", None, "void"),
    ],
)
def test_gpus_asked_for_are_those_of_the_container(
    there: OwnEngine, hostile_dir: Path, gpus: str, devices: dict[str, Any] | None, inside: str
) -> None:
    program = WAITS + "(run / 'gpus').write_text(os.environ['NVIDIA_VISIBLE_DEVICES']); result('succeeded')"
    run = launched(hostile_dir, program, gpus=gpus, gpu_count=2)
    client = docker.DockerClient(there.host)
    made = client.api.inspect_container(run.read_record()["handle"]["container"])["HostConfig"]["DeviceRequests"]
    client.close()
    (run.path / "go").touch()
    assert finish(run) == "succeeded"
    assert (run.path / "gpus").read_text(encoding="utf-8") == inside
    if devices is None:
        assert not made
    else:
        assert {name: made[0][name] for name in devices} == devices
        assert made[0]["Capabilities"] == [["gpu"]]


def test_a_gpu_runtime_that_fails_is_told_with_the_drivers_words(there: OwnEngine, hostile_dir: Path) -> None:
    there.write_hook(BROKEN_HOOK)
    with pytest.raises(BackendError) as caught:
        launched(hostile_dir, "", gpus="1")
    assert caught.value.code == "E_GPU_DRIVER"
    assert "driver not loaded" in caught.value.message
    assert "--gpus none" in caught.value.fix
    assert list(hostile_dir.iterdir()) == []


def test_a_run_lives_through_a_restart_of_the_engine(there: OwnEngine, hostile_dir: Path) -> None:
    run = launched(hostile_dir, WAITS + "print('after'); result('succeeded')")
    wait_until(lambda: b"before" in run.log.read_bytes())
    there.kill()
    found = status(run)
    assert (found.state, found.done) == ("running", False)
    assert "until the engine answers" in found.reason
    with pytest.raises(BackendError, match="no Docker engine answers"):
        get_backend("docker").stop(run)
    there.start("--live-restore")
    assert status(run).state == "running"
    assert status(run).reason == ""
    (run.path / "go").touch()
    assert finish(run) == "succeeded"
    assert run.log.read_text(encoding="utf-8") == "before\nafter\n"


def test_a_run_that_the_engine_took_with_it_has_failed_and_says_why(there: OwnEngine, hostile_dir: Path) -> None:
    there.kill()
    there.start()
    run = launched(hostile_dir, WAITS)
    wait_until(lambda: b"before" in run.log.read_bytes())
    there.kill()
    there.start()
    assert finish(run) == "failed"
    error = status(run).error or {}
    assert error["code"] == "E_RUN_ENGINE_RESTARTED"
    assert "live-restore" in error["fix"]
    assert f"skillrun runs resume {run.run_id}" in error["fix"]


FORWARD = """
import asyncio, sys

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def serve(reader, writer):
    there = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.fixture
def remote(there: OwnEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The second engine behind a TCP port: to skillrun it is on another host."""
    command = [sys.executable, "-c", FORWARD, there.host.removeprefix("unix://")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as forward:
        assert forward.stdout is not None
        host = f"tcp://127.0.0.1:{int(forward.stdout.readline())}"
        monkeypatch.setenv("DOCKER_HOST", host)
        yield host
        forward.kill()


def test_a_remote_engine_runs_what_it_can_see(remote: str, hostile_dir: Path) -> None:
    run = launched(hostile_dir, "result('succeeded')")
    assert finish(run) == "succeeded"
    assert run.read_record()["handle"]["engine"] == remote


def test_paths_are_checked_on_the_host_of_a_remote_engine(
    remote: str, own_engine: OwnEngine, hostile_dir: Path
) -> None:
    data = own_engine.folder / REMOTE_ONLY / "boards"
    data.mkdir(exist_ok=True)
    asked = plan(hostile_dir, "")
    data_mount = Mount(source=str(data), target="/d", read_only=True, kind="dir")
    with pytest.raises(SkillrunError) as caught:
        launch(asked.model_copy(update={"mounts": (*asked.mounts, data_mount)}))
    assert caught.value.code == "E_DOCKER_REMOTE_PATH"
    assert str(data) in caught.value.message and remote in caught.value.message
    assert list(hostile_dir.iterdir()) == []


def test_a_remote_engine_that_is_away_is_said_at_once(hostile_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(BackendError, match="DOCKER_HOST"):
        get_backend("docker").require_ready(plan(hostile_dir, ""))
    assert time.monotonic() - began < 5


LAUNCH = """
import json, sys
from pathlib import Path
from skillrun.backends import Quiet
from skillrun.errors import SkillrunError
from skillrun.launch import launch
from skillrun.plan import Plan

class Heard(Quiet):
    def say(self, text):
        print(text, file=sys.stderr, flush=True)

try:
    launch(Plan.load(Path(sys.argv[1])), Heard())
except SkillrunError as error:
    print(json.dumps(error.to_json()))
"""
SHOWS_GPUS = WAITS + "(run / 'gpus').write_text(os.environ['NVIDIA_VISIBLE_DEVICES']); result('succeeded')"


@pytest.fixture
def gpu_host(hostile_dir: Path) -> dict[str, str]:
    """The environment of a host with two GPUs, the first in use, told by a stand-in of the driver's library."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in library")
    library = hostile_dir.parent / "nvml"
    library.mkdir()
    source = Path(__file__).resolve().parents[1] / "skillrun" / "nvml_standin.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library / "libnvidia-ml.so.1"), str(source)], check=True)
    state = library / "state"
    gpus = [f"gpu GPU-{name} NVIDIA_H200 total 81920 used {used} util 0 error 0 mig 0" for name, used in USED.items()]
    state.write_text("\n".join(("driver 550.54.15 12040", *gpus)) + "\n", encoding="utf-8")
    locks = {"SKILLRUN_GPU_LOCKS": str(library / "locks"), "NVML_STANDIN": str(state)}
    return {**os.environ, **locks, "LD_LIBRARY_PATH": str(library)}


USED = {"a": 40000, "b": 0}


def test_a_run_keeps_its_gpu_until_it_ends_and_others_wait_for_it(
    there: OwnEngine, hostile_dir: Path, gpu_host: dict[str, str]
) -> None:
    def ask(number: int, **changes: Any) -> tuple[RunFolder, subprocess.Popen[str]]:
        made = plan(hostile_dir, SHOWS_GPUS, gpus="auto", **changes)
        file = hostile_dir.parent / f"plan {number}.json"
        file.write_text(made.to_json(), encoding="utf-8")
        command = [sys.executable, "-c", LAUNCH, str(file)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return RunFolder(Path(made.run_dir)), subprocess.Popen(command, env=gpu_host, text=True, **pipes)  # type: ignore[call-overload]

    first, launcher = ask(1)
    assert launcher.communicate()[0] == ""
    wait_until(lambda: first.events.exists())
    assert first.read_record()["devices"] == "GPU-b"

    refused = json.loads(ask(2)[1].communicate()[0])
    assert (refused["code"], refused["exit_code"]) == ("E_GPU_BUSY", 6)
    assert first.run_id in refused["message"] and "--wait-gpu" in refused["fix"]

    third, waiting = ask(3, wait_gpu_s=30)
    assert waiting.stderr is not None
    assert "waiting up to 30 s for 1 free GPU" in waiting.stderr.readline()
    assert not third.path.exists()
    (first.path / "go").touch()
    assert finish(first) == "succeeded"
    assert waiting.communicate()[0] == ""
    (third.path / "go").touch()
    assert finish(third) == "succeeded"
    for run in (first, third):
        assert (run.path / "gpus").read_text(encoding="utf-8") == "GPU-b"

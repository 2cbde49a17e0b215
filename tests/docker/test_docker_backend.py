"""The Docker backend against a real engine: the same promises as every backend, and what only containers have."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from docker import DockerClient
from skillrun.backends import Quiet
from skillrun.backends.conformance import SLOW, DockerConformance, finish, wait_until
from skillrun.backends.docker_request import RUN_LABEL
from skillrun.errors import BackendError, SkillrunError
from skillrun.launch import launch, stop
from skillrun.plan import Mount
from skillrun.runfolder import RunFolder
from skillrun.watch import status


def containers(engine: DockerClient) -> list[Container]:
    """All containers of runs, in any state."""
    return engine.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def no_container_is_left(engine: DockerClient) -> Iterator[None]:
    yield
    wait_until(lambda: containers(engine) == [], 5)


@pytest.mark.usefixtures("base_image")
class TestDockerBackend(DockerConformance):
    image = "skillrun-base:ci"


suite = TestDockerBackend()


def state_of(run: RunFolder, engine: DockerClient) -> dict[str, Any]:
    """What the engine says of a run's container."""
    return dict(engine.api.inspect_container(run.read_record()["handle"]["container"]))


def refused(action: Any) -> SkillrunError:
    with pytest.raises(SkillrunError) as caught:
        action()
    return caught.value


def test_the_container_is_what_was_asked_for(engine: DockerClient, hostile_dir: Path) -> None:
    """Inspected, and seen from inside."""
    report = """
import resource
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
shm = os.statvfs("/dev/shm")
def refused(path):
    try:
        open(path, "w")
    except OSError as error:
        return error.strerror
(run / "seen.json").write_text(json.dumps({
    "caps": [status[name] for name in ("CapPrm", "CapEff", "CapBnd")], "new_privileges": status["NoNewPrivs"],
    "shm": shm.f_blocks * shm.f_frsize, "links": sorted(os.listdir("/sys/class/net")),
    "uid": os.getuid(), "home": os.environ["HOME"], "root": refused("/etc/x"), "data": refused("/data/here/x"),
    "tmp": refused("/tmp/x"), "omp": os.environ["OMP_NUM_THREADS"],
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)}))
event(event="start")
result("succeeded")
while not (run / "go").exists(): time.sleep(0.02)
"""
    (hostile_dir / "data").mkdir()
    start = suite.plan_values(RunFolder(hostile_dir), "")
    run = suite.start(
        hostile_dir,
        report,
        shm_size="96m",
        user="12345:12345",
        env={**start["env"], "OMP_NUM_THREADS": "3"},
        resources={"memory": 2**28, "cpus": 1.5, "ulimits": [{"Name": "nofile", "Soft": 512, "Hard": 1024}]},
        mounts=(
            Mount(source=str(open_folder(hostile_dir / "open")), target="/skillrun/run", read_only=False, kind="dir"),
            Mount(source=str(hostile_dir / "data"), target="/data/here", read_only=True, kind="dir"),
            Mount(source=str(hostile_dir / "data"), target="/data/twice", read_only=True, kind="dir"),
        ),
    )
    seen_file = hostile_dir / "open" / "seen.json"
    wait_until(seen_file.is_file)
    wait_until(lambda: seen_file.stat().st_size > 0)
    host = state_of(run, engine)["HostConfig"]
    (hostile_dir / "open" / "go").touch()
    wait_until(lambda: status(run).done)
    seen = json.loads(seen_file.read_text(encoding="utf-8"))
    assert seen["caps"] == ["0000000000000000"] * 3 and seen["new_privileges"] == "1"
    assert seen["shm"] == 96 * 2**20 and seen["links"] == ["lo"]
    assert (seen["uid"], seen["home"], seen["omp"]) == (12345, "/tmp", "3")
    assert seen["root"] == seen["data"] == "Read-only file system" and seen["tmp"] is None
    assert seen["files"] == [512, 1024]
    assert seen_file.stat().st_uid == 12345
    assert (host["NetworkMode"], host["CapDrop"], host["ReadonlyRootfs"]) == ("none", ["ALL"], True)
    assert (host["Memory"], host["NanoCpus"], host["Init"]) == (2**28, 1_500_000_000, True)
    assert not any(mount["RW"] for mount in state_mounts(host, run) if mount["Target"].startswith("/data"))


def state_mounts(host: dict[str, Any], run: RunFolder) -> list[dict[str, Any]]:
    return [{**mount, "RW": not mount.get("ReadOnly", False)} for mount in host["Mounts"]]


def open_folder(path: Path) -> Path:
    path.mkdir()
    path.chmod(0o777)
    return path


def test_too_much_memory_is_told_as_that(hostile_dir: Path) -> None:
    run = suite.start(hostile_dir, "event(event='start'); x = bytearray(2**28)", resources={"memory": 2**26})
    assert finish(run) == "failed"
    found = status(run)
    assert found.exit_code == 137
    assert found.error and found.error["code"] == "E_RUN_OOM" and "0.0625 GiB" in found.reason
    assert "--memory" in found.error["fix"]


def test_a_child_that_ran_out_of_memory_is_the_reason_too(hostile_dir: Path) -> None:
    program = """
import subprocess
import sys
child = subprocess.run([sys.executable, "-c", "x = bytearray(2**28)"])
sys.exit(3)
"""
    run = suite.start(hostile_dir, program, resources={"memory": 2**26})
    assert finish(run) == "failed"
    assert (status(run).error or {})["code"] == "E_RUN_OOM"


def test_full_shared_memory_is_told_as_that(hostile_dir: Path) -> None:
    program = """
import mmap
with open("/dev/shm/x", "wb") as f: f.truncate(2**27)
with open("/dev/shm/x", "r+b") as f:
    m = mmap.mmap(f.fileno(), 2**27)
    for i in range(0, 2**27, 4096): m[i] = 1
"""
    run = suite.start(hostile_dir, program, shm_size="16m")
    assert finish(run) == "failed"
    assert status(run).exit_code == 135
    assert (status(run).error or {})["code"] == "E_RUN_SHM" and "16m" in status(run).reason


def test_a_container_killed_by_hand_is_no_success_and_says_so(engine: DockerClient, hostile_dir: Path) -> None:
    run = suite.start(hostile_dir, "event(event='start'); result('succeeded'); time.sleep(60)")
    wait_until(lambda: status(run).state == "running" and run.result.exists())
    engine.containers.get(run.read_record()["handle"]["container"]).kill()
    assert finish(run) == "failed"
    assert (status(run).error or {})["code"] == "E_RUN_KILLED"


def test_a_container_removed_by_hand_is_lost_not_succeeded(engine: DockerClient, hostile_dir: Path) -> None:
    run = suite.start(hostile_dir, "event(event='start'); result('succeeded'); time.sleep(60)")
    wait_until(lambda: status(run).state == "running" and run.result.exists())
    os.kill(keeper_of(run), signal.SIGKILL)
    engine.containers.get(run.read_record()["handle"]["container"]).remove(force=True)
    assert finish(run) == "lost"
    assert "container is gone" in status(run).reason


def keeper_of(run: RunFolder) -> int:
    """The process number of a run's keeper."""
    found = subprocess.run(["pgrep", "-f", f"keeper {run.path}$".replace("$x", ".x")], capture_output=True, text=True)
    return int(found.stdout.split()[0])


def test_a_run_whose_keeper_is_killed_is_collected_by_the_next_look(engine: DockerClient, hostile_dir: Path) -> None:
    program = "event(event='start')\nprint('before', flush=True)\nwhile not (run / 'go').exists(): time.sleep(0.02)\n"
    run = suite.start(hostile_dir, program + "print('after'); result('succeeded')")
    wait_until(lambda: run.log.exists() and b"before" in run.log.read_bytes())
    os.kill(keeper_of(run), signal.SIGKILL)
    (run.path / "go").touch()
    wait_until(lambda: state_of(run, engine)["State"]["Status"] == "exited")
    assert not run.exit.exists()
    assert status(run).state == "succeeded"
    assert run.log.read_text(encoding="utf-8") == "before\nafter\n"


def test_a_launcher_that_dies_before_it_wrote_the_container_down_loses_nothing(hostile_dir: Path) -> None:
    run = suite.start(hostile_dir, SLOW)
    wait_until(lambda: status(run).state == "running")
    os.kill(keeper_of(run), signal.SIGKILL)
    run.write_record(handle=None)
    assert status(run).state == "running"
    stop(run)
    assert status(run).state == "cancelled"


def test_what_the_engine_refuses_is_explained_and_leaves_nothing(hostile_dir: Path) -> None:
    gone = Mount(source=str(hostile_dir / "gone"), target="/data/gone", read_only=True, kind="dir")
    cases: tuple[tuple[dict[str, Any], str, int], ...] = (
        ({"mounts": (gone,)}, "E_DOCKER_MOUNT", 5),
        ({"gpus": "1"}, "E_GPU_RUNTIME", 8),
        ({"image": "skillrun/visual_changenet-train:0.0-absent", "pull": "never"}, "E_IMAGE_MISSING", 5),
        ({"resources": {"memory": 1024}}, "E_DOCKER_LIMIT", 8),
    )
    for changes, code, exit_code in cases:
        run = RunFolder(hostile_dir / "runs" / "refused")
        plan = suite.make_plan(run, "", **changes)
        error = refused(lambda plan=plan: launch(plan))
        assert (error.code, error.exit_code) == (code, exit_code), error.message
        assert error.fix
        assert list(hostile_dir.iterdir()) == []


def test_an_image_without_the_models_command_is_told_as_that(hostile_dir: Path) -> None:
    run = suite.start(hostile_dir, "", argv=("visual_changenet", "train"))
    assert finish(run) == "failed"
    assert (status(run).error or {})["code"] == "E_IMAGE_COMMAND"
    assert "'visual_changenet' can not run in skillrun-base:ci" in status(run).reason


def test_a_limit_that_the_engine_may_not_set_is_left_out_and_said(hostile_dir: Path) -> None:
    heard: list[str] = []

    class Heard(Quiet):
        def say(self, text: str) -> None:
            heard.append(text)

    run = RunFolder(hostile_dir / "runs" / "one")
    limits = [{"Name": "memlock", "Soft": -1, "Hard": -1}, {"Name": "nofile", "Soft": 256, "Hard": 256}]
    plan = suite.make_plan(run, "result('succeeded')", resources={"ulimits": limits})
    launch(plan, Heard())
    assert finish(run) == "succeeded"
    if heard:
        assert heard == ["note: this engine may not set the limit memlock; running without it"]


def test_no_engine_is_said_within_a_second_with_what_to_type(
    hostile_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{hostile_dir}/none.sock")
    run = RunFolder(hostile_dir / "runs" / "one")
    error = refused(lambda: launch(suite.make_plan(run, "")))
    assert isinstance(error, BackendError) and error.code == "E_DOCKER_NO_ENGINE"
    assert "--backend local" in error.fix
    assert not run.path.exists()


def test_fifty_runs_leave_no_container_no_process_and_no_open_file(hostile_dir: Path) -> None:
    begun = open_files()
    runs = []
    for number in range(50):
        run = suite.start(hostile_dir, SLOW if number % 2 else "result('succeeded')")
        if number % 2:
            wait_until(lambda run=run: status(run).state == "running")
            stop(run)
        runs.append(run)
    states = [finish(run) for run in runs]
    assert states == ["succeeded", "cancelled"] * 25
    wait_until(lambda: not keepers(hostile_dir))
    assert open_files() <= begun + 5


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def keepers(folder: Path) -> list[str]:
    """Command lines of keepers whose run lies in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode("utf-8", errors="replace").split("\0")
        except OSError:
            continue
        if "skillrun.backends.keeper" in words and words[-2].startswith(str(folder)):
            found.append(" ".join(words))
    return found


def test_a_container_whose_run_folder_was_removed_is_removed_by_its_id(engine: DockerClient, hostile_dir: Path) -> None:
    run = suite.start(hostile_dir, SLOW)
    wait_until(lambda: status(run).state == "running")
    os.kill(keeper_of(run), signal.SIGKILL)
    shutil.rmtree(run.path)
    command = [str(Path(sys.executable).with_name("skillrun")), "runs", "rm", run.run_id]
    asked = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert asked.returncode == 2 and "--yes" in asked.stderr
    done = subprocess.run([*command, "--yes"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert containers(engine) == []
    assert subprocess.run([*command, "--yes"], capture_output=True, stdin=subprocess.DEVNULL).returncode == 5


@pytest.mark.skipif(os.getuid() != 0, reason="it is root's containers that lack the right")
def test_data_that_only_their_owner_may_read_are_said_before_a_container_of_root_fails(hostile_dir: Path) -> None:
    closed = hostile_dir / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, 12345, 12345)
    run = RunFolder(hostile_dir / "runs" / "one")
    mine = suite.plan_values(run, "")["mounts"]
    data = Mount(source=str(closed), target="/data/closed", read_only=True, kind="dir")
    error = refused(lambda: launch(suite.make_plan(run, "", mounts=(*mine, data), user="0:0")))
    assert (error.code, error.exit_code) == ("E_DATA_CLOSED", 7)
    assert "sudo -u '#12345'" in error.fix

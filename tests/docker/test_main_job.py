"""The main job as a user types it, in our image, in real containers: inspected while it runs, not assumed."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

import skillrun
from docker import DockerClient
from skillrun import images
from skillrun.backends.conformance import wait_until
from skillrun.backends.docker_request import FOLDER_LABEL, RUN_LABEL
from skillrun.data.synth import synth
from skillrun.engine import endpoint
from skillrun.runfolder import RunFolder, list_runs
from skillrun.watch import status

TINY = (
    "model.backbone.type=fan_tiny_8_p4_hybrid",
    "model.decode_head.decoder_params.embed_dim=16",
    "dataset.classify.image_width=32",
    "dataset.classify.image_height=32",
    "dataset.classify.workers=0",
    "batch_size=4",
    "train.threads=1",
    "train.tensorboard.enabled=false",
)
IN_CONTAINER = ("--backend", "docker", "--gpus", "none")
STRANGER = 12345


@dataclass
class Desk:
    """A workspace with labelled boards, and the command as somebody types it there."""

    folder: Path
    boards: Path
    command: tuple[str, ...] = (str(Path(sys.executable).with_name("skillrun")),)
    options: dict[str, Any] = field(default_factory=dict)

    def words(self, *words: str | Path) -> dict[str, Any]:
        """Arguments of `subprocess` for ``skillrun WORDS``; stdin is empty, as for an agent."""
        settings = {"cwd": self.folder, "env": dict(os.environ), "stdin": subprocess.DEVNULL, "text": True}
        return {"args": [*self.command, *map(str, words)], **settings, **self.options}

    def run(self, *words: str | Path, hangs_s: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        call = self.words(*words)
        return subprocess.run(
            **{**call, "env": {**call["env"], **env}}, capture_output=True, timeout=hangs_s, check=False
        )

    def answer(self, *words: str | Path, **env: str) -> dict[str, Any]:
        done = self.run(*words, "--json", **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """The command in the foreground of a terminal session of its own."""
        return subprocess.Popen(
            **self.words(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def train(self, *more: str | Path) -> tuple[str | Path, ...]:
        data = ("--train-data", self.boards / "train", "--eval-data", self.boards / "eval")
        return ("visual_changenet", "train", "--no-automl", *IN_CONTAINER, *data, *TINY, *more)

    @property
    def last_run(self) -> RunFolder:
        return next(list_runs(self.folder))

    def training(self) -> RunFolder:
        """The newest run, once it takes steps."""
        wait_until(lambda: any(list_runs(self.folder)))
        run = self.last_run
        wait_until(lambda: run.events.is_file() and '"phase": "train"' in run.events.read_text(encoding="utf-8"))
        assert status(run).state == "running"
        return run


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "bö'ards, 32 px"
    synth(folder, pairs=16, size=32, seed=5)
    return folder


@pytest.fixture
def desk(engine: DockerClient, cpu_image: str, workspace: Path, boards: Path) -> Iterator[Desk]:
    yield Desk(workspace, boards)
    try:
        wait_until(lambda: not containers(engine, workspace), 10)
    finally:
        for container in containers(engine, workspace):
            container.remove(force=True)


def containers(engine: DockerClient, folder: Path) -> list[Container]:
    """Containers, in any state, of the runs of one workspace."""
    found = engine.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
    return [container for container in found if container.labels[FOLDER_LABEL].startswith(f"{folder}/")]


def running_container(engine: DockerClient, folder: Path) -> Container:
    wait_until(lambda: any(one.status == "running" for one in containers(engine, folder)))
    return containers(engine, folder)[0]


def owners(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


LOOK_AROUND = """
import json, os, sys
state = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def refusal(folder):
    try:
        os.close(os.open(folder + "/probe", os.O_CREAT))
    except OSError as error:
        return error.strerror
shm = os.statvfs("/dev/shm")
print(json.dumps({
    "caps": {state[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16},
    "shm": shm.f_blocks * shm.f_frsize, "network": os.listdir("/sys/class/net"),
    "refused": [refusal(folder) for folder in sys.argv[1:]]}))
"""


def look_inside(container: Container, *folders: str) -> dict[str, Any]:
    code, said = container.exec_run(["python3", "-c", LOOK_AROUND, *folders])
    assert code == 0, said
    return json.loads(said)  # type: ignore[no-any-return]


def test_a_training_killed_for_lack_of_memory_names_the_limit_and_the_option(desk: Desk) -> None:
    done = desk.run(*desk.train("num_epochs=1", "--memory", "200m"))
    assert done.returncode == 9, done.stderr
    assert "error[E_RUN_OOM]" in done.stderr and "limit of 0.195 GiB" in done.stderr, done.stderr
    assert "--memory" in done.stderr.partition("  fix: ")[2], done.stderr


LOADERS_OF_LARGE_PAIRS = (
    "dataset.classify.image_width=256",
    "dataset.classify.image_height=256",
    "dataset.classify.workers=2",
)


def test_too_little_shared_memory_is_refused_before_the_start_and_explained_when_waived(desk: Desk) -> None:
    train = desk.train("num_epochs=1", "--shm-size", "1m", *LOADERS_OF_LARGE_PAIRS)
    done = desk.run(*train)
    assert done.returncode == 3 and "error[E_HOST_SHM]: --shm-size 1m gives 1 MiB" in done.stderr, done.stderr
    assert "  fix: dataset.classify.workers=0" in done.stderr and not any(list_runs(desk.folder))
    done = desk.run(*train, "--waive", "E_HOST_SHM")
    assert done.returncode == 9 and "error[E_RUN_SHARED_MEMORY]" in done.stderr, done.stderr
    assert "--shm-size" in done.stderr.partition("  fix: ")[2], done.stderr


def test_gpus_that_the_engine_can_not_give_are_refused_before_the_start(cpu_image: str, desk: Desk) -> None:
    done = desk.run(*desk.train("--gpus", "1", "--image", cpu_image))
    assert done.returncode == 8 and "error[E_GPU_RUNTIME]" in done.stderr and "  fix: " in done.stderr, done.stderr
    assert not any(list_runs(desk.folder))


def test_train_evaluate_and_infer_in_containers(engine: DockerClient, desk: Desk) -> None:
    process = desk.start(*desk.train("num_epochs=1", "--shm-size", "96m"), "--json")
    container = running_container(engine, desk.folder)
    images_of = ("/data/train_dataset/images_dir", "/data/validation_dataset/images_dir")
    seen = look_inside(container, "/etc", *images_of)
    host, mounts = container.attrs["HostConfig"], {mount["Destination"]: mount for mount in container.attrs["Mounts"]}
    said, complaints = process.communicate(timeout=120)
    assert process.returncode == 0, complaints
    assert seen == {"caps": True, "shm": 96 * 2**20, "network": ["lo"], "refused": ["Read-only file system"] * 3}
    assert (host["NetworkMode"], host["CapDrop"], host["ShmSize"]) == ("none", ["ALL"], 96 * 2**20)
    assert [place for place, mount in mounts.items() if mount["RW"]] == ["/skillrun/run"]
    assert [mounts[place]["Source"] for place in images_of] == [
        str(desk.boards / part / "images") for part in ("train", "eval")
    ]

    trained = json.loads(said)
    run = RunFolder(Path(trained["run"]["run_dir"]))
    for path in (run.plan, run.spec, run.container_spec, run.events, run.log, run.result, run.exit):
        assert path.is_file(), path
    spec = run.spec.read_text(encoding="utf-8")
    assert "/data/" not in spec and "/skillrun/" not in spec
    again = desk.answer("visual_changenet", "train", "-e", run.spec, "--backend", "local", "--no-automl", "--dry-run")
    assert str(desk.boards / "train" / "images") in [mount["source"] for mount in again["plan"]["mounts"]]

    evaluated = desk.answer(
        *("visual_changenet", "evaluate", "--parent", "last", "--eval-data", desk.boards / "eval"), *IN_CONTAINER
    )
    assert 0 <= evaluated["run"]["metrics"]["average_precision"] <= 1
    inferred = desk.answer(
        *("visual_changenet", "inference", "--parent", trained["run"]["run_id"]),
        *("--infer-data", desk.boards / "eval", *IN_CONTAINER),
    )
    scores = next(Path(inferred["run"]["run_dir"]).rglob("inference.csv")).read_text(encoding="utf-8")
    assert len(scores.splitlines()) == 1 + len((desk.boards / "eval" / "dataset.csv").read_text().splitlines()[1:])
    assert set(owners(desk.folder).values()) == {os.getuid()}
    listed = desk.answer("runs", "list")["runs"]
    assert [(row["action"], row["state"]) for row in listed] == [
        (action, "succeeded") for action in ("inference", "evaluate", "train")
    ]
    assert desk.answer("runs", "rm", "last", "--yes")["removed"] == listed[0]["run"]
    assert not Path(inferred["run"]["run_dir"]).exists()


@pytest.fixture
def stranger(engine: DockerClient, cpu_image: str, boards: Path, hostile_dir: Path) -> Iterator[Desk]:
    """A user without any rights but to reach the engine, who has a home with a workspace."""
    socket = endpoint().socket
    if os.getuid() != 0 or socket is None:
        pytest.skip("only root may become another user, and only a local engine can be reached as one")
    home = Path(tempfile.mkdtemp(prefix="skillrun-"))
    folder = home / hostile_dir.name
    shutil.copytree(boards, folder / "boards")
    for path in owners(home):
        os.chown(path, STRANGER, STRANGER)
    code = (str(Path(skillrun.__file__).parents[1]), sysconfig.get_path("purelib"))
    env = {"HOME": str(home), "TMPDIR": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(code)}
    env |= {"DOCKER_HOST": endpoint().host, "SKILLRUN_WORKSPACE": str(folder)}
    identity = {"user": STRANGER, "group": STRANGER, "extra_groups": [socket.stat().st_gid]}
    desk = Desk(folder, folder / "boards", options={"env": env, **identity})
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        desk.command = (python, "-c", "from skillrun.cli import main; main()")
        with suppress(OSError):
            if desk.run("--version").returncode == 0:
                break
    else:
        pytest.skip("no Python that another user may start")
    yield desk
    shutil.rmtree(home)
    assert not containers(engine, folder)


def test_every_file_of_a_strangers_run_is_the_strangers(stranger: Desk) -> None:
    assert stranger.answer(*stranger.train("num_epochs=1"))["run"]["state"] == "succeeded"
    assert set(owners(stranger.folder).values()) == {STRANGER}


def test_a_run_through_sudo_belongs_to_the_user_behind_it(desk: Desk) -> None:
    if os.getuid() != 0:
        pytest.skip("sudo means to be root")
    behind = {"SUDO_UID": str(STRANGER), "SUDO_GID": str(STRANGER)}
    assert desk.answer(*desk.train("num_epochs=1"), **behind)["run"]["state"] == "succeeded"
    others = [path.name for path, uid in owners(desk.folder / "runs").items() if uid != STRANGER]
    assert others == []


def test_results_may_lie_elsewhere(desk: Desk, tmp_path: Path) -> None:
    elsewhere = tmp_path / "ré sults, $HOME's"
    trained = desk.answer(*desk.train("num_epochs=1", "--results", elsewhere))
    shown = desk.answer("runs", "show", "last")["checkpoints"]
    assert shown == trained["checkpoints"]
    checkpoint = (desk.last_run.path / shown[0]["path"]).resolve()
    assert checkpoint.is_file() and checkpoint.is_relative_to(elsewhere)
    evaluated = desk.answer(
        *("visual_changenet", "evaluate", "--parent", "last", "--eval-data", desk.boards / "eval"), *IN_CONTAINER
    )
    assert evaluated["run"]["state"] == "succeeded"


def test_a_killed_command_leaves_the_training_running(engine: DockerClient, desk: Desk) -> None:
    process = desk.start(*desk.train("num_epochs=500"))
    run = desk.training()
    process.kill()
    process.communicate()
    assert [(row["run"], row["state"]) for row in desk.answer("runs", "list")["runs"]] == [(run.run_id, "running")]
    assert desk.run("runs", "rm", "last", "--yes").returncode == 6
    watcher = desk.start("runs", "attach", "last")
    assert watcher.stderr is not None and "epoch" in watcher.stderr.readline()
    assert running_container(engine, desk.folder).name == f"skillrun-{run.run_id}"
    assert desk.answer("runs", "stop", "last")["run"]["state"] == "cancelled"
    watcher.communicate(timeout=30)
    assert watcher.returncode == 9
    assert list(run.results.rglob("model_epoch_*.pth")), "a stopped training keeps a checkpoint"


def test_a_closed_terminal_leaves_the_training_running(desk: Desk) -> None:
    call = desk.words(*desk.train("num_epochs=500"))
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(call["cwd"])
        os.execve(call["args"][0], call["args"], call["env"])
    run = desk.training()
    os.close(terminal)
    os.waitpid(process, 0)
    assert status(run).state == "running"
    steps = run.events.stat().st_size
    wait_until(lambda: run.events.stat().st_size > steps)
    assert desk.answer("runs", "stop", "last")["run"]["state"] == "cancelled"


def test_ctrl_c_twice_stops_and_once_detaches_and_the_run_can_go_on(engine: DockerClient, desk: Desk) -> None:
    process = desk.start(*desk.train("num_epochs=30"))
    run = desk.training()
    assert process.stderr is not None
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)
    while "detached" not in (line := process.stderr.readline()):
        assert line, "the command ended without a word on how to come back"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130 and time.monotonic() - pressed < 10
    assert status(run).state == "cancelled", run.log.read_text(encoding="utf-8")
    wait_until(lambda: not containers(engine, desk.folder), 5)
    assert list(run.results.rglob("model_epoch_*.pth"))

    told = run.events.stat().st_size
    process = desk.start("runs", "resume", "last")
    wait_until(lambda: run.events.stat().st_size > told + 1000)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"skillrun runs attach {run.run_id}" in said and f"skillrun runs stop {run.run_id}" in said
    assert status(run).state == "running"
    assert desk.run("runs", "attach", "last").returncode == 0
    epochs = [json.loads(line) for line in run.events.read_text(encoding="utf-8").splitlines()]
    done = [event["epoch"] for event in epochs if event["event"] == "epoch"]
    assert done == sorted(done) and done[-1] == 30
    assert [row["state"] for row in desk.answer("runs", "list")["runs"]] == ["succeeded"]


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, desk: Desk) -> Iterator[Desk]:
    """A workspace on a file system of its own; its size comes as a parameter."""
    place = desk.folder / "small disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "none", place], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield Desk(place, desk.boards, options={"env": {**os.environ, "SKILLRUN_WORKSPACE": str(place)}})
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("small_disk", ["130m"], indirect=True)
def test_a_checkpoint_that_the_disk_has_no_room_for_ends_the_run_and_spares_the_one_before(small_disk: Desk) -> None:
    """A checkpoint of this model takes 85 MiB."""
    import torch

    process = small_disk.start(*small_disk.train("num_epochs=3", "train.checkpoint_interval=1"))
    run = small_disk.training()
    log = small_disk.run("runs", "logs", "-f", run.run_id)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 9
    assert "No space left on device" in log.stdout and log.returncode == 0
    found = status(run)
    assert found.state == "failed"
    checkpoints = small_disk.answer("runs", "show", "last")["checkpoints"]
    assert torch.load(run.path / checkpoints[0]["path"], weights_only=False)["epoch"] == 0
    assert [path.name for path in run.results.rglob("*.pth") if not path.is_symlink()] == [
        Path(checkpoints[0]["path"]).name
    ]
    assert "No space left on device" in found.reason and "No space left on device" in said


@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
def test_a_disk_without_any_room_is_said_and_the_end_is_read_once_there_is_some(
    engine: DockerClient, small_disk: Desk
) -> None:
    refused = small_disk.run(*small_disk.train("num_epochs=3"))
    assert refused.returncode == 3 and "E_HOST_DISK" in refused.stderr, refused.stderr
    process = small_disk.start(*small_disk.train("num_epochs=3", "--waive", "E_HOST_DISK"))
    run = small_disk.training()
    ballast = small_disk.folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    _, said = process.communicate(timeout=60)
    assert process.returncode in (8, 9) and "Traceback" not in said, said
    assert "No space left on device" in said
    listed = small_disk.run("runs", "list")
    assert listed.returncode == 0 and "succeeded" not in listed.stdout
    ballast.unlink()
    wait_until(lambda: status(run).done and run.exit.exists())
    assert status(run).state == "failed" and "No space left on device" in status(run).reason
    wait_until(lambda: not containers(engine, small_disk.folder))


def test_linked_folders_linked_images_and_relative_paths_are_data_like_any_other(desk: Desk) -> None:
    store = desk.folder / "store"
    shutil.copytree(desk.boards, store)
    (desk.folder / "trån link").symlink_to(store / "train")
    shutil.copytree(desk.boards / "eval", desk.folder / "eval")
    for path in [path for path in (desk.folder / "eval" / "images").rglob("*") if path.is_file()]:
        target = store / path.relative_to(desk.folder)
        path.unlink()
        path.symlink_to(target)
    data = ("--train-data", "trån link", "--eval-data", f"../{desk.folder.name}/eval")
    trained = desk.answer("visual_changenet", "train", "--no-automl", *IN_CONTAINER, *data, *TINY, "num_epochs=1")
    assert trained["run"]["state"] == "succeeded"


def test_the_printed_docker_line_trains_when_it_is_typed_by_hand(engine: DockerClient, desk: Desk) -> None:
    if shutil.which("docker") is None:
        pytest.skip("no docker command here")
    shown = desk.run(*desk.train("num_epochs=1"), "--dry-run").stdout
    table = [line.split() for line in shown.splitlines() if line.startswith(("reads", "writes"))]
    assert ("writes", "/skillrun/run") in {(row[0], row[-1]) for row in table}
    assert any(row[-1] == "/data/train_dataset/images_dir" for row in table)
    assert str(desk.boards / "train" / "images") in shown and "\ndocker run " in shown

    answer = desk.answer(*desk.train("num_epochs=1"), "--dry-run")
    plan, run = answer["plan"], RunFolder(Path(answer["plan"]["run_dir"]))
    assert not run.path.exists()
    Path(plan["results_dir"]).mkdir(parents=True)
    run.container_spec.write_text(plan["container_spec_text"], encoding="utf-8")
    typed = subprocess.run(answer["request"]["docker_run"], shell=True, cwd="/", capture_output=True, text=True)
    engine.containers.get(answer["request"]["name"]).remove()
    assert typed.returncode == 0, typed.stderr
    result = json.loads(run.result.read_text(encoding="utf-8"))
    assert result["status"] == "succeeded" and (run.path / result["checkpoints"][0]["path"]).is_file()


def test_a_missing_image_or_engine_is_said_without_waiting_and_with_what_to_type(
    engine: DockerClient, desk: Desk
) -> None:
    nobody = desk.run(*desk.train(), hangs_s=30, DOCKER_HOST=f"unix://{desk.folder}/none.sock")
    assert nobody.returncode == 8 and "--backend local" in nobody.stderr, nobody.stderr
    absent = images.resolve("skillrun.visual_changenet_train").reference
    if images.find(engine, absent):
        pytest.skip(f"the engine has {absent}")
    missing = desk.run(*desk.train("--gpus", "1"), hangs_s=30)
    assert missing.returncode == 5 and "skillrun images build train" in missing.stderr, missing.stderr
    assert not (desk.folder / "runs").exists()

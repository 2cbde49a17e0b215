"""No secret of the caller goes anywhere: not into the run folder, a log, the plan, the engine, another process."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from docker import DockerClient
from skillrun.backends.conformance import wait_until
from skillrun.backends.docker_request import FOLDER_LABEL, RUN_LABEL
from skillrun.data.synth import synth
from skillrun.runfolder import list_runs
from skillrun.watch import status

NAMES = (
    "NGC_API_KEY",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "WANDB_API_KEY",
)
SKILLRUN = str(Path(sys.executable).with_name("skillrun"))
TRAIN = (
    *("visual_changenet", "train", "--no-automl", "--backend", "docker", "--gpus", "none"),
    *("--train-data", "boards/train", "--eval-data", "boards/eval"),
    *("model.backbone.type=fan_tiny_8_p4_hybrid", "model.decode_head.decoder_params.embed_dim=16"),
    *("dataset.classify.image_width=32", "dataset.classify.image_height=32", "dataset.classify.workers=0"),
    *("batch_size=4", "train.threads=1"),
)


class Canaries:
    """Values that exist nowhere else, and a search for them, plain and in base64."""

    def __init__(self) -> None:
        self.env = {name: f"canary-{secrets.token_hex(16)}" for name in NAMES}
        login = f"canary-{secrets.token_hex(16)}"
        self.values = (*self.env.values(), login)
        coded = base64.b64encode(f"$oauthtoken:{login}".encode()).decode()
        self.env["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"registry.example": {"auth": coded}}})
        self._forms = [value.encode() for value in (*self.values, coded)]
        self._forms += [base64.b64encode(value.encode()).rstrip(b"=") for value in self.values]

    def found_in(self, data: bytes) -> set[bytes]:
        return {form for form in self._forms if form in data}

    def in_files(self, folder: Path) -> dict[Path, set[bytes]]:
        """Files below a folder, and their names, that hold a canary."""
        places = [path for path in folder.rglob("*") if path.is_file()]
        found = {path: self.found_in(os.fsencode(path) + path.read_bytes()) for path in places}
        return {path: seen for path, seen in found.items() if seen}

    def in_processes(self) -> dict[int, set[bytes]]:
        """Processes of this host, those in containers too, whose command line or environment holds a canary."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            seen = self.found_in(process_text(int(folder.name)))
            if seen:
                found[int(folder.name)] = seen
        return found


def process_text(pid: int) -> bytes:
    """Command line and environment of a process; empty where it is gone or may not be read."""
    try:
        return b"\0".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    except OSError:
        return b""


@pytest.fixture
def canaries(workspace: Path) -> Canaries:
    synth(workspace / "boards", pairs=16, size=32, seed=5)
    return Canaries()


@pytest.fixture
def training(
    cpu_image: str, workspace: Path, canaries: Canaries, engine: DockerClient
) -> Iterator[subprocess.Popen[str]]:
    """A training in a container, started and watched by a caller who has secrets."""
    process = subprocess.Popen(
        [SKILLRUN, *TRAIN, "num_epochs=500", "--json"],
        cwd=workspace,
        env={**os.environ, **canaries.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()
    for one in containers(engine, workspace):
        one.remove(force=True)


def containers(engine: DockerClient, folder: Path) -> list[Container]:
    found = engine.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
    return [container for container in found if container.labels[FOLDER_LABEL].startswith(f"{folder}/")]


def keepers(folder: Path) -> list[int]:
    """Process numbers of the keepers of a workspace's runs."""
    processes = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    marks = (b"skillrun.backends.keeper", os.fsencode(folder))
    return [pid for pid in processes if all(mark in process_text(pid) for mark in marks)]


def skillrun(workspace: Path, canaries: Canaries, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SKILLRUN, *words],
        cwd=workspace,
        env={**os.environ, **canaries.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_no_secret_leaves_the_callers_own_process(
    engine: DockerClient, workspace: Path, canaries: Canaries, training: subprocess.Popen[str]
) -> None:
    wait_until(lambda: any(list_runs(workspace)))
    run = next(list_runs(workspace))
    wait_until(lambda: run.events.is_file() and '"phase": "train"' in run.events.read_text(encoding="utf-8"))
    (container,) = containers(engine, workspace)

    inside = [int(row[1]) for row in container.top()["Processes"]]
    watched = [*inside, *keepers(workspace)]
    assert len(inside) >= 2 and len(watched) > len(inside)
    if os.getuid() == 0:
        assert all(b"PATH=" in process_text(pid) for pid in watched), "an environment that is not seen proves nothing"
    assert set(canaries.in_processes()) == {training.pid}
    assert not canaries.found_in(json.dumps(engine.api.inspect_container(container.id)).encode())

    stopped = skillrun(workspace, canaries, "runs", "stop", "last")
    said = "".join(training.communicate(timeout=60))
    assert stopped.returncode == 0 and status(run).state == "cancelled"
    for text in (said, stopped.stdout + stopped.stderr):
        assert text and not canaries.found_in(text.encode())
    assert canaries.in_files(workspace) == {}


def test_no_command_shows_a_secret(cpu_image: str, workspace: Path, canaries: Canaries) -> None:
    for words in ((*TRAIN, "--dry-run", "--json"), (*TRAIN, "--dry-run"), ("doctor", "--json"), ("images", "list")):
        shown = skillrun(workspace, canaries, *words)
        assert shown.stdout and not canaries.found_in((shown.stdout + shown.stderr).encode()), words
    for asked in ("HF_TOKEN", f"NGC_API_KEY={canaries.env['NGC_API_KEY']}"):
        refused = skillrun(workspace, canaries, *TRAIN, "--env", asked)
        assert refused.returncode == 2 and "E_ARG_ENV_SECRET" in refused.stderr
        assert not canaries.found_in((refused.stdout + refused.stderr).encode())
    assert not (workspace / "runs").exists()


def test_the_search_finds_what_is_there(workspace: Path, canaries: Canaries) -> None:
    """Each canary in a file, in a file's name, in base64, in an environment and in a command line."""
    assert canaries.in_files(workspace) == {} and canaries.in_processes() == {}
    values = list(canaries.values)
    plain, coded = workspace / "plain.log", workspace / "cäche" / "coded.json"
    coded.parent.mkdir()
    plain.write_text("key " + " ".join(values), encoding="utf-8")
    coded.write_bytes(b" ".join(base64.b64encode(value.encode()) for value in values))
    (workspace / values[0]).touch()
    found = canaries.in_files(workspace)
    assert set(found) == {plain, coded, workspace / values[0]}
    assert len(found[plain]) == len(found[coded]) == len(values)

    waits = [sys.executable, "-c", "input()", values[0]]
    env = {**os.environ, **canaries.env}
    with subprocess.Popen(waits, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        seen = canaries.in_processes()
        process.communicate(b"\n")
    assert set(seen) == {process.pid} and len(seen[process.pid]) > len(values)

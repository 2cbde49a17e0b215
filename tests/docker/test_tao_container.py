"""``--container tao`` from the command line to the result, with a stand-in for NVIDIA's image.

That image is not here: it is large, and only its publisher may hand it out. ``tao_standin.py`` keeps its contract on
top of our CPU image: the command line, the files, the status lines and the exit codes, as far as they are known. So
these tests show what the runner makes of a container that knows nothing of it; they say nothing about NVIDIA's program.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ContainerError

from docker import DockerClient
from skillrun import bank
from skillrun.data.synth import synth
from skillrun.images import find, resolve
from skillrun.overrides import flatten, get_dotted, leaves
from skillrun.runfolder import RunFolder, find_run, list_runs, read_json
from skillrun.specfile import read_spec
from skillrun.tao.failures import explain
from skillrun.watch import status

IMAGE = "skillrun-tao-standin:ci"
TEST_LABEL = "skillrun.test"
MODEL = "visual_changenet"
NO_WEIGHTS = "pretrained_backbone="
PROGRAM = Path(__file__).with_name("tao_standin.py")
DOCKERFILE = """
FROM {base}
USER 0:0
COPY known_keys.json /opt/standin/known_keys.json
COPY visual_changenet /opt/venv/bin/visual_changenet
COPY entrypoint.sh /opt/nvidia/entrypoint.sh
RUN chmod 755 /opt/venv/bin/visual_changenet /opt/nvidia/entrypoint.sh && chmod 644 /opt/standin/known_keys.json
ENTRYPOINT ["/opt/nvidia/entrypoint.sh"]
CMD ["bash"]
"""
ENTRYPOINT = '#!/bin/sh\nprintf "\\n=======================\\n=== TAO Toolkit PyT ===\\n\\n"\nexec "$@"\n'
# Another user than the one who runs the tests; only root can start runs on behalf of others.
OWNER = 12345 if os.getuid() == 0 else os.getuid()
SMALL = ("model.backbone.type=fan_tiny_8_p4_hybrid", "model.decode_head.decoder_params.embed_dim=16")
CLASSIFY = (
    *SMALL,
    "dataset.classify.image_width=32",
    "dataset.classify.image_height=32",
    "dataset.classify.workers=0",
    "train.validation_interval=1",
)
SEGMENT = (*SMALL, "segment_img_size=64", "segment_batch_size=4", "segment_workers=0")


@dataclass(frozen=True)
class Desk:
    """A workspace at a hostile path, with boards, and the real command in it."""

    folder: Path
    classify: Path
    segment: Path

    def skillrun(self, *words: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.argv(*words), capture_output=True, text=True, timeout=timeout, check=False, **self.how()
        )

    def argv(self, *words: str | Path) -> list[str]:
        return [str(Path(sys.executable).with_name("skillrun")), *map(str, words)]

    def how(self) -> dict[str, Any]:
        env = {**os.environ, "SKILLRUN_WORKSPACE": str(self.folder), "PYTHONWARNINGS": "ignore"}
        env |= {"SUDO_UID": str(OWNER), "SUDO_GID": str(OWNER)}
        return {"cwd": self.folder, "env": env, "stdin": subprocess.DEVNULL}

    def data(self) -> tuple[str, ...]:
        return ("--train-data", str(self.classify / "train"), "--eval-data", str(self.classify / "eval"))


def tao(*words: str | Path) -> tuple[str | Path, ...]:
    """An action of the stand-in's image."""
    return (MODEL, *words, "--backend", "docker", "--container", "tao", "--image", IMAGE, "--gpus", "none")


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def complaint(done: subprocess.CompletedProcess[str], code: int) -> dict[str, Any]:
    """The error object that ``--json`` prints."""
    assert done.returncode == code, done.stderr
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    return error


def run_of(said: dict[str, Any]) -> RunFolder:
    return RunFolder(Path(said["run"]["run_dir"]))


def foreign_keys() -> set[str]:
    """Keys that the published configuration has not."""
    return {key for _, key, own in schema_keys() if own}


def schema_keys() -> Iterator[tuple[str, str, bool]]:
    for action, contract in bank.skill_info(MODEL)["actions"].items():
        if contract["container"] == "train":
            for key, node in leaves(bank.schema(MODEL, action)):
                yield action, key, bool(node.get("x-skillrun-only"))


@pytest.fixture(scope="module", autouse=True)
def stand_in(engine: DockerClient, cpu_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The image, removed at the end."""
    context = tmp_path_factory.mktemp("context")
    known = sorted({key for _, key, own in schema_keys() if not own})
    files = {
        "Dockerfile": DOCKERFILE.format(base=cpu_image),
        "entrypoint.sh": ENTRYPOINT,
        "known_keys.json": json.dumps(known),
        "visual_changenet": "#!/opt/venv/bin/python\n" + PROGRAM.read_text(encoding="utf-8"),
    }
    for name, text in files.items():
        (context / name).write_text(text, encoding="utf-8")
    engine.images.build(path=str(context), tag=IMAGE, rm=True)
    yield
    engine.images.remove(IMAGE, force=True)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk") / "a b'c\"ü,é$x"
    classify, segment = folder / "my boards", folder / "my masks"
    synth(classify, pairs=16, size=32, seed=5)
    synth(segment, task="segment", pairs=12, size=64, seed=5)
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
    return Desk(folder, classify, segment)


@pytest.fixture(scope="module")
def trained(desk: Desk) -> dict[str, Any]:
    """A training of two epochs, one of whose values only our own container knows."""
    values = (*CLASSIFY, "batch_size=4", "num_epochs=2", "dataset.classify.align=translation")
    done = desk.skillrun(*tao("train", "--no-automl", *desk.data(), *values), "--json")
    return {**answer(done), "stderr": done.stderr}


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).parts[0] for path in folder.rglob("*")}


def test_a_training_leaves_only_what_the_published_one_leaves(trained: dict[str, Any]) -> None:
    """Of the stand-in: without this the other tests would show nothing."""
    folder = run_of(trained).results / "train"
    lines = [json.loads(line) for line in (folder / "status.json").read_text(encoding="utf-8").splitlines()]
    assert (lines[-1]["status"], lines[-1]["message"]) == ("RUNNING", "Train finished successfully.")
    assert not run_of(trained).events.exists()
    named = {re.sub(r"\d+", "N", name) for name in files_in(folder)}
    assert named == {
        "status.json",
        "experiment.yaml",
        "lightning_logs",
        "model_epoch_N_step_N.pth",
        "changenet_model_classify_latest.pth",
    }
    log = run_of(trained).log.read_text(encoding="utf-8")
    assert "=== TAO Toolkit PyT ===" in log and "Execution status: PASS" in log


def test_a_key_of_ours_would_end_it(engine: DockerClient, trained: dict[str, Any]) -> None:
    """Of the stand-in too: a spec with such a key does not get past its configuration."""
    run = run_of(trained)
    where = {str(run.path): {"bind": "/spec", "mode": "ro"}}
    command = ["visual_changenet", "train", "-e", f"/spec/{run.spec.name}"]
    with pytest.raises(ContainerError) as caught:
        engine.containers.run(IMAGE, command, volumes=where, labels=[TEST_LABEL], remove=True, network_mode="none")
    said = caught.value.stderr
    assert caught.value.exit_status == 1 and isinstance(said, bytes)
    told = explain(said.decode("utf-8").splitlines(), "classify")
    assert told is not None and told["code"] == "E_TAO_KEY", said


def test_the_result_of_a_training_is_made_from_what_the_container_left(desk: Desk, trained: dict[str, Any]) -> None:
    run = run_of(trained)
    assert trained["run"]["state"] == "succeeded"
    found = trained["checkpoints"]
    assert [(entry["epoch"], entry["last"]) for entry in found] in ([(0, False), (1, True)], [(1, True)])
    assert sum(entry["best"] for entry in found) == 1
    for entry in found:
        content = (run.path / entry["path"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["metrics"]["val_loss"] > 0
    assert {"train_loss", "val_loss", "val_acc"} <= trained["run"]["metrics"].keys()
    assert {"spec", "status", "tensorboard"} <= {item["kind"] for item in trained["artifacts"]}
    shown = desk.skillrun("runs", "show", run.run_id)
    assert shown.returncode == 0, shown.stderr
    assert "succeeded" in shown.stdout and found[-1]["path"] in shown.stdout
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in run.path.rglob("*")} >= {(OWNER, OWNER)}
    assert {path.lstat().st_uid for path in run.results.rglob("*")} == {OWNER}


def test_epochs_of_its_status_file_are_told_as_those_of_our_own_container(trained: dict[str, Any]) -> None:
    told = [line for line in trained["stderr"].splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in told] == ["1", "2"]
    assert all("train_loss" in line and "val_loss" in line for line in told)


def test_its_spec_has_no_key_of_ours_and_a_chosen_one_is_said(trained: dict[str, Any]) -> None:
    run = run_of(trained)
    written = read_spec(run.container_spec).values
    keys = {key for key, _ in leaves(bank.schema(MODEL, "train"))}
    assert flatten(written, keys).keys() and not flatten(written, keys).keys() & foreign_keys()
    assert get_dotted(read_spec(run.spec).values, "dataset.classify.align") == "translation"
    assert "note: dataset.classify.align=translation is skillrun's own" in trained["stderr"]
    assert str(run.path) not in run.container_spec.read_text(encoding="utf-8")


def test_a_checkpoint_is_evaluated_and_used_for_inference(desk: Desk, trained: dict[str, Any]) -> None:
    parent = ("--parent", trained["run"]["run_id"])
    evaluated = answer(desk.skillrun(*tao("evaluate", *parent, "--eval-data", desk.classify / "eval"), "--json"))
    assert evaluated["run"]["state"] == "succeeded"
    assert {"test_acc", "test_fpr", "test_fnr", "defect_acc"} == evaluated["run"]["metrics"].keys()
    assert evaluated["checkpoints"] == []
    source = desk.classify / "eval"
    scored = answer(desk.skillrun(*tao("inference", *parent, "--infer-data", source), "--json"))
    tables = [item["path"] for item in scored["artifacts"] if item["kind"] == "table"]
    rows = (run_of(scored).path / tables[0]).read_text(encoding="utf-8").splitlines()
    assert len(rows) == len((source / "dataset.csv").read_text(encoding="utf-8").splitlines())
    assert rows[0].endswith("siamese_score")


def test_masks_are_trained_evaluated_and_drawn(desk: Desk) -> None:
    trained = answer(
        desk.skillrun(
            *tao("segment_train", "--no-automl", "--train-data", desk.segment, *SEGMENT, "num_epochs=1"), "--json"
        )
    )
    assert [entry["best"] for entry in trained["checkpoints"]] == [True]
    parent = ("--parent", trained["run"]["run_id"])
    evaluated = answer(desk.skillrun(*tao("evaluate", *parent, "--eval-data", desk.segment), "--json"))
    assert evaluated["run"]["action"] == "segment_evaluate"
    assert 0 <= evaluated["run"]["metrics"]["test_miou"] <= 1
    drawn = answer(desk.skillrun(*tao("inference", *parent, "--infer-data", desk.segment), "--json"))
    assert {"pictures", "mask"} <= {item["kind"] for item in drawn["artifacts"]}


def test_epochs_are_seen_while_it_trains_and_a_stopped_run_is_no_success(desk: Desk) -> None:
    values = (*CLASSIFY, "batch_size=4", "num_epochs=500", "train.checkpoint_interval=500")
    watching = subprocess.Popen(
        desk.argv(*tao("train", "--no-automl", *desk.data(), *values)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **desk.how(),
    )
    assert watching.stderr is not None
    seen = next(line for line in watching.stderr if line.startswith("epoch "))
    run = next(list_runs(desk.folder))
    assert seen.startswith("epoch 1 ") and status(run).state == "running"
    stopped = answer(desk.skillrun("runs", "stop", run.run_id, "--json"))["run"]
    assert (stopped["state"], stopped["exit_code"]) == ("cancelled", 0)
    rest = watching.stderr.read()
    assert watching.wait(timeout=30) == 9
    watching.stderr.close()
    assert f"{run.run_id} cancelled" in rest and f"fix: skillrun runs resume {run.run_id}" in rest
    result = read_json(run.result) or {}
    assert result["status"] == "cancelled" and [entry["last"] for entry in result["checkpoints"]].count(True) == 1
    assert "Execution status: PASS" in run.log.read_text(encoding="utf-8")


def test_exit_code_0_without_a_checkpoint_is_a_failure(desk: Desk) -> None:
    values = (*CLASSIFY, "batch_size=4", "num_epochs=1", "--env", "STANDIN_LOSES_CHECKPOINTS=1")
    done = desk.skillrun(*tao("train", "--no-automl", *desk.data(), *values), "--json")
    error = complaint(done, 9)
    assert error["code"] == "E_TAO_NO_OUTPUT" and "left no new checkpoint" in error["message"]
    last = status(find_run("last", desk.folder))
    assert (last.state, last.exit_code) == ("failed", 0)


def test_what_it_says_when_it_fails_is_told_with_what_to_type(desk: Desk) -> None:
    words = (*CLASSIFY, "num_epochs=1", "batch_size=64")
    done = desk.skillrun(*tao("train", "--no-automl", *desk.data(), *words), "--json")
    error = complaint(done, 9)
    assert error["code"] == "E_TAO_DATASET_SMALL", error
    assert re.search(r"dataset\.classify\.batch_size=\d+", error["fix"])
    assert "/data/" not in error["message"] and "/skillrun/" not in error["message"]


def test_weights_are_staged_for_it_too_and_not_without_them(desk: Desk) -> None:
    words = (*CLASSIFY, "num_epochs=1", "model.backbone.pretrained_backbone_path=hf://team/weights/w.safetensors")
    done = desk.skillrun(*tao("train", "--no-automl", "--offline", *desk.data(), *words), "--json")
    error = complaint(done, 5)
    assert error["code"] == "E_STAGE_OFFLINE", error
    assert "skillrun stage hf://team/weights/w.safetensors" in error["fix"]


def test_a_backbone_is_one_file_at_the_documented_place(desk: Desk) -> None:
    weights = desk.folder / "größe 'b'.safetensors"
    weights.write_bytes(b"weights")
    plan = answer(
        desk.skillrun(
            *tao("train", "--no-automl", *desk.data(), f"model.backbone.pretrained_backbone_path={weights}"),
            "--dry-run",
            "--json",
        )
    )["plan"]
    mounted = next(mount for mount in plan["mounts"] if mount["source"] == str(weights))
    assert (mounted["kind"], mounted["read_only"]) == ("file", True)
    assert mounted["target"] == "/data/pretrained_models/C-RADIOv2_B.safetensors"
    assert f"pretrained_backbone_path: {mounted['target']}" in plan["container_spec_text"]


def test_without_image_it_is_the_published_one_and_only_in_a_container(desk: Desk) -> None:
    words = (MODEL, "train", "--no-automl", *desk.data(), "--container", "tao", "--gpus", "none", "--json", NO_WEIGHTS)
    plan = answer(desk.skillrun(*words, "--dry-run"))["plan"]
    assert (plan["backend"], plan["image"]) == ("docker", resolve("tao_toolkit.pyt").reference)
    assert plan["argv"] == ["visual_changenet", "train", "-e", "/skillrun/run/spec.container.yaml"]
    assert complaint(desk.skillrun(*words, "--backend", "local"), 2)["code"] == "E_CONTAINER_LOCAL"


def test_an_image_that_is_not_here_and_can_not_be_fetched_says_how_to_bring_it(
    desk: Desk, engine: DockerClient
) -> None:
    published = resolve("tao_toolkit.pyt").reference
    if find(engine, published) is not None:
        pytest.skip("the published image is here")
    words = (MODEL, "train", "--no-automl", *desk.data(), "--container", "tao", "--gpus", "none", "--json", NO_WEIGHTS)
    begin, before = time.monotonic(), sorted(list_runs(desk.folder), key=str)
    error = complaint(desk.skillrun(*words, "--backend", "docker", "--pull", "never"), 5)
    assert error["code"] == "E_IMAGE_MISSING" and "docker load" in error["fix"]
    # A registry that nobody serves: the engine is refused at once, as on a host without a network.
    nowhere = ("--image", "127.0.0.1:9/tao/tao-toolkit:6", "--backend", "docker", "--pull", "missing")
    error = complaint(desk.skillrun(*words, *nowhere), 8)
    assert error["code"] == "E_IMAGE_OFFLINE" and "docker load" in error["fix"]
    assert time.monotonic() - begin < 20
    assert sorted(list_runs(desk.folder), key=str) == before

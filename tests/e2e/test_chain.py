"""From training to evaluation and back without typing a path: each command finds its parent's file and says why."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from hub_server import Hub, sha256
from skillrun import bank
from skillrun.data.synth import synth
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder, read_json
from skillrun.specfile import dump_spec, read_spec
from skillrun.tao.spec import tao_spec
from skillrun.watch import read_events
from visual_changenet.cli import main
from visual_changenet.models.backbones import build_backbone

KIND = "fan_tiny_8_p4_hybrid"
MODEL = (f"model.backbone.type={KIND}", "model.decode_head.decoder_params.embed_dim=16")
QUICK = ("train.tensorboard.enabled=false", "train.checkpoint_interval=1")
CLASSIFY = (
    *(*MODEL, *QUICK),
    "dataset.classify.image_width=64",
    "dataset.classify.image_height=64",
    "dataset.classify.workers=0",
    "batch_size=4",
)
SEGMENT = (*(*MODEL, *QUICK), "segment_img_size=64", "segment_batch_size=4", "segment_workers=0")
CUT_OFF = ("unshare", "-r", "-n")


@dataclass
class Line:
    """A workspace in which commands are typed.

    Attributes:
        prefix: what every command is started under.
        steps: what was typed and answered so far, by the name that the test gave.
    """

    folder: Path
    prefix: Sequence[str] = ()
    steps: dict[str, Step] = field(default_factory=dict)

    @property
    def boards(self) -> Path:
        return self.folder / "my boards"

    def type(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """``skillrun visual_changenet …``."""
        command = [str(Path(sys.executable).with_name("skillrun")), "visual_changenet", *map(str, arguments)]
        places = {"SKILLRUN_WORKSPACE": str(self.folder), "SKILLRUN_CACHE": str(self.folder / "cache")}
        return subprocess.run(
            [*self.prefix, *command],
            cwd=self.folder,
            env={**os.environ, **places, "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def step(self, name: str, *arguments: str | Path) -> Step:
        """A run that has to succeed; on one thread, so that others on the same machine do not hold it up."""
        result = self.type(*arguments, "train.threads=1", "--json")
        assert result.returncode == 0, f"{name}: {result.stderr}"
        answered: dict[str, Any] = json.loads(result.stdout)
        assert answered["run"]["state"] == "succeeded"
        self.steps[name] = Step(RunFolder(Path(answered["run"]["run_dir"])), result.stderr, answered)
        return self.steps[name]

    def runs(self) -> set[Path]:
        return set((self.folder / "runs").iterdir())


@dataclass
class Step:
    """A run that was typed: its folder, what was said on the way, and the answer."""

    run: RunFolder
    said: str
    answered: dict[str, Any]

    @property
    def plan(self) -> Plan:
        return Plan.load(self.run.plan)

    @property
    def parent(self) -> dict[str, Any]:
        assert self.plan.parent is not None
        return self.plan.parent

    @property
    def checkpoints(self) -> list[Path]:
        return [self.run.path / entry["path"] for entry in self.answered["checkpoints"]]

    def events(self, kind: str) -> list[dict[str, Any]]:
        found, _ = read_events(self.run.events)
        return [event for event in found if event["event"] == kind]


def new_line(folder: Path, prefix: Sequence[str] = ()) -> Line:
    line = Line(folder, prefix)
    synth(line.boards, pairs=12, size=64, seed=5)
    return line


def walk(line: Line, *more: str, start: Sequence[str]) -> None:
    """The chain; ``more`` goes to every command, ``start`` to the first one."""
    train, test = line.boards / "train", line.boards / "eval"
    data = ("--train-data", train, "--eval-data", test)
    first = line.step("train", "train", "--no-automl", *data, *CLASSIFY, "num_epochs=2", *start, *more)
    line.step("evaluate", "evaluate", "--parent", "last", "--eval-data", test, *more)
    line.step("inference", "inference", "--parent", "last", "--infer-data", test, *more)
    line.step("resume", "train", "--no-automl", "--resume", first.run.run_id, "num_epochs=3", *more)
    line.step("evaluate again", "evaluate", "--parent", "last", "--eval-data", test, *more)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """The chain, walked once for the tests of this file; no weights are staged."""
    line = new_line(tmp_path_factory.mktemp("a b'c\"ü,é$x"))
    walk(line, start=["pretrained_backbone="])
    return line


def number(path: Path) -> int:
    match = re.search(r"epoch_(\d+)", path.name)
    assert match is not None
    return int(match[1])


def check_chain(line: Line) -> None:
    """Every step took what it says, from the step that was meant."""
    train, resume = line.steps["train"], line.steps["resume"]
    best = next(train.run.path / entry["path"] for entry in train.answered["checkpoints"] if entry["best"])
    for name in ("evaluate", "inference"):
        step = line.steps[name]
        assert Path(step.parent["checkpoint"]) == best
        assert step.parent["run_id"] == train.run.run_id, "an evaluation as parent stands for what it read"
        assert f"takes {best.name} of {train.run.run_id}" in step.said
        assert "best of 2" in step.said
        values = read_spec(step.run.spec).values
        assert values[name]["checkpoint"] == str(best)
        assert values["dataset"]["classify"]["image_width"] == 64
        assert values["model"]["backbone"]["type"] == KIND
        result = read_json(step.run.result) or {}
        assert result["provenance"]["parent"]["run_id"] == train.run.run_id
    assert resume.parent["relation"] == "resume"
    assert Path(resume.parent["checkpoint"]) == train.checkpoints[-1]
    assert f"goes on with {train.checkpoints[-1].name} of {train.run.run_id}: last of 2" in resume.said
    assert line.steps["evaluate again"].parent["run_id"] == resume.run.run_id


def test_each_link_of_the_chain_takes_the_right_file_and_says_why(chain: Line) -> None:
    check_chain(chain)


def test_a_training_that_goes_on_begins_with_the_next_epoch(chain: Line) -> None:
    train, resume = chain.steps["train"], chain.steps["resume"]
    assert [event["epoch"] for event in train.events("epoch")] == [1, 2]
    assert [event["epoch"] for event in resume.events("epoch")] == [3]
    epochs = [line for line in resume.said.splitlines() if line.startswith("epoch ")]
    assert epochs
    assert epochs[0].startswith("epoch 3 ")
    assert [number(path) for path in train.checkpoints] == [0, 1]
    assert number(resume.checkpoints[-1]) == 2
    steps = [event["step"] for step in (train, resume) for event in step.events("checkpoint")]
    assert steps == sorted(set(steps)), "optimiser steps are counted on"
    assert all(path.is_file() for path in (*train.checkpoints, *resume.checkpoints)), "the first run keeps its own"


def test_new_data_starts_from_the_parents_weights_and_counts_anew(chain: Line) -> None:
    train = chain.steps["train"]
    new = chain.folder / "other boards"
    synth(new, pairs=8, size=64, seed=6)
    data = ("--train-data", new / "train", "--eval-data", new / "eval")
    mine = (*QUICK, "num_epochs=1", "batch_size=4", "dataset.classify.workers=0")
    step = chain.step("new data", "train", "--no-automl", "--parent", train.run.run_id, *data, *mine)
    values = read_spec(step.run.spec).values
    best = chain.steps["evaluate"].parent["checkpoint"]
    assert values["train"]["pretrained_model_path"] == best
    assert not values["train"]["resume_training_checkpoint_path"]
    assert str(new / "train") in values["dataset"]["classify"]["train_dataset"]["csv_path"]
    assert values["dataset"]["classify"]["image_width"] == 64, "the geometry is the parent's"
    assert step.plan.weights is None, "a checkpoint brings its backbone with it"
    assert [event["epoch"] for event in step.events("epoch")] == [1]


# --- what does not fit ---------------------------------------------------------------------------------------------


def refused(line: Line, *arguments: str | Path) -> str:
    """What an invalid command says; it writes nothing."""
    before = line.runs()
    result = line.type(*arguments)
    assert result.returncode == 2, result.stderr
    assert line.runs() == before
    return result.stderr


CONTRADICTIONS = {"dataset.classify.image_width": 128, "model.backbone.type": "fan_small_12_p4_hybrid"}


@pytest.mark.parametrize("by", ["override", "spec file"])
@pytest.mark.parametrize("action", ["evaluate", "train"])
def test_what_contradicts_the_checkpoint_is_refused_with_a_table(action: str, by: str, chain: Line) -> None:
    said: tuple[str | Path, ...] = tuple(f"{key}={value}" for key, value in CONTRADICTIONS.items())
    if by == "spec file":
        file = chain.folder / "mine.yaml"
        text = "dataset: {classify: {image_width: 128}}\nmodel: {backbone: {type: fan_small_12_p4_hybrid}}\n"
        file.write_text(text, encoding="utf-8")
        said = ("-e", file)
    data = ("--train-data", chain.boards / "train", "--eval-data", chain.boards / "eval")
    data = data[2:] if action == "evaluate" else ("--no-automl", *data)
    words = refused(chain, action, "--parent", chain.steps["train"].run.run_id, *data, *said)
    assert "error[E_PARENT_CONTRADICTS]" in words
    rows = [line.split() for line in words.splitlines()]
    assert ["field", "parent", "asked"] in rows
    assert ["dataset.classify.image_width", "64", "128"] in rows
    assert ["model.backbone.type", f"'{KIND}'", "'fan_small_12_p4_hybrid'"] in rows


def test_a_start_from_weights_and_a_continuation_exclude_each_other(chain: Line) -> None:
    run = chain.steps["train"].run.run_id
    words = refused(chain, "train", "--no-automl", "--parent", run, "--resume", chain.steps["resume"].run.run_id)
    assert "error[E_PARENT_TWICE]" in words


# --- a results folder of the published container -------------------------------------------------------------------


def as_published(step: Step, folder: Path, kpis: Sequence[dict[str, float]]) -> Path:
    """The checkpoints of a training as the published container leaves them: names, status numbers, recorded spec."""
    train = folder / "train"
    train.mkdir(parents=True)
    for source in step.checkpoints:
        assert main(["export-checkpoint", "--format", "tao", str(source), str(train / source.name)]) == 0
    latest = train / f"changenet_model_{step.plan.task}_latest.pth"
    latest.symlink_to(step.checkpoints[-1].name)
    stamp = {"date": "1/2/2026", "time": "1:2:3", "status": "RUNNING", "verbosity": "INFO"}
    lines = [{**stamp, "status": "STARTED", "message": "Starting Visual ChangeNet train."}]
    for epoch, kpi in enumerate(kpis):
        loop = {"epoch": epoch, "step": epoch + 1, "max_epoch": len(kpis) - 1}
        lines.append({**stamp, "message": "Eval metrics generated.", "kpi": kpi})
        lines.append({**loop, **stamp, "message": "Training loop in progress", "kpi": kpi})
    (train / "status.json").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    schema = bank.schema("visual_changenet", step.plan.action)
    spec, _ = tao_spec(read_spec(step.run.spec).values, schema)
    spec["results_dir"] = "/results"
    spec["evaluate"] = {"checkpoint": "???", "batch_size": -1}
    (train / "experiment.yaml").write_text(dump_spec(spec), encoding="utf-8")
    return folder


def test_a_folder_of_the_published_container_is_a_parent_by_path(chain: Line) -> None:
    train = chain.steps["train"]
    folder = as_published(train, chain.folder / "from tao best", [{"val_loss": 0.2}, {"val_loss": 0.7}])
    step = chain.step("published", "evaluate", "--parent", folder, "--eval-data", chain.boards / "eval")
    assert Path(step.parent["checkpoint"]) == folder / "train" / train.checkpoints[0].name
    assert "best of 2 by val_loss (less is better): epoch 0 val_loss 0.2" in step.said
    assert step.answered["run"]["metrics"]["num_samples"] == 4


def test_a_segment_folder_of_the_published_container_is_a_parent_too(tmp_path: Path) -> None:
    line = Line(tmp_path)
    synth(line.boards, pairs=8, size=64, seed=2, task="segment")
    data = ("--train-data", line.boards, "--eval-data", line.boards)
    train = line.step(
        *("train", "train", "--task", "segment", "--no-automl", *data, *SEGMENT, "num_epochs=1", "pretrained_backbone=")
    )
    folder = as_published(train, line.folder / "results", [{"val_loss": 0.2, "val_miou": 0.5}])
    step = line.step("published", "evaluate", "--parent", folder, "--eval-data", line.boards)
    assert step.plan.action == "segment_evaluate", "the task is the parent's"
    assert Path(step.parent["checkpoint"]).parent == folder / "train"


# --- without a network ---------------------------------------------------------------------------------------------


@pytest.fixture
def cut_off() -> Sequence[str]:
    """What starts a command without any network; skips where the host does not allow that."""
    for words in (CUT_OFF, tuple(word for word in CUT_OFF if word != "-r")):
        if (
            shutil.which(words[0])
            and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
        ):
            return words
    pytest.skip("neither user namespaces nor root: a process can not be cut off from the network here")


@pytest.fixture
def staged(hub: Hub, workspace: Path) -> str:
    """A source whose weights were staged while there was a network."""
    torch.manual_seed(3)
    tensors = build_backbone(KIND, (64, 64)).state_dict()
    hub.data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    hub.etag = sha256(hub.data)
    source = "hf://org/fan/sub/fan tiny.safetensors"
    command = [str(Path(sys.executable).with_name("skillrun")), "stage", source]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return source


def test_the_whole_chain_runs_with_the_network_cut_off(
    staged: str, hub: Hub, workspace: Path, cut_off: Sequence[str]
) -> None:
    probe = f"import socket; socket.create_connection(('127.0.0.1', {hub.url.rpartition(':')[2]}), 5)"
    cut = subprocess.run([*cut_off, sys.executable, "-c", probe], capture_output=True, check=False)
    assert cut.returncode != 0, "the probe reaches the hub: nothing is cut off"
    asked = len(hub.seen)
    line = new_line(workspace, cut_off)
    walk(line, "--offline", start=[f"model.backbone.pretrained_backbone_path={staged}"])
    check_chain(line)
    weights = line.steps["train"].plan.weights
    assert weights is not None
    assert weights["sha256"] == hub.etag
    assert len(hub.seen) == asked

"""The main job as a user does it: train, evaluate, infer; detach, come back, stop."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skillrun.data.synth import synth
from skillrun.plan import Plan
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


@pytest.fixture
def boards(workspace: Path) -> Path:
    synth(workspace / "my boards", pairs=16, size=32, seed=5)
    return workspace / "my boards"


def train_arguments(boards: Path, *more: str) -> tuple[str, ...]:
    data = ("--train-data", str(boards / "train"), "--eval-data", str(boards / "eval"))
    return ("visual_changenet", "train", "--no-automl", *data, *TINY, *more)


def answer(result: subprocess.CompletedProcess[str]) -> dict:  # type: ignore[type-arg]
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def test_train_evaluate_and_infer_at_a_hostile_path(skillrun, workspace: Path, boards: Path) -> None:
    trained = answer(skillrun(*train_arguments(boards, "num_epochs=1"), "--json"))
    assert trained["run"]["state"] == "succeeded"
    assert [entry["best"] for entry in trained["checkpoints"]] == [True]
    run = RunFolder(Path(trained["run"]["run_dir"]))
    for path in (run.plan, run.spec, run.events, run.log, run.result):
        assert path.is_file(), path
    assert Plan.load(run.plan).plan_hash == run.read_record()["plan_hash"]

    evaluated = answer(
        skillrun("visual_changenet", "evaluate", "--parent", "last", "--eval-data", boards / "eval", "--json")
    )
    assert 0 <= evaluated["run"]["metrics"]["average_precision"] <= 1
    assert answer(skillrun("runs", "show", "last", "--json"))["run"]["action"] == "evaluate"

    source = workspace / "boards to score"
    (boards / "eval").rename(source)
    text = skillrun("visual_changenet", "inference", "--parent", trained["run"]["run_id"], "--infer-data", source)
    assert text.returncode == 0, text.stderr
    scored = next(Path(status(next(list_runs(workspace))).run_dir).rglob("inference.csv"))
    with scored.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (source / "dataset.csv").open(encoding="utf-8", newline="") as stream:
        given = list(csv.DictReader(stream))
    assert [row["object_name"] for row in rows] == [row["object_name"] for row in given]
    assert all(0 <= float(row["siamese_score"]) <= 1 for row in rows)

    listed = answer(skillrun("runs", "list", "--json"))["runs"]
    assert [row["action"] for row in listed] == ["inference", "evaluate", "train"]
    assert "next: " in text.stderr
    assert skillrun("runs", "rm", "last").returncode == 2
    assert skillrun("runs", "rm", "last", "--yes").returncode == 0
    assert len(answer(skillrun("runs", "list", "--json"))["runs"]) == 2


def test_a_dry_run_starts_and_writes_nothing_and_has_a_stable_hash(skillrun, workspace: Path, boards: Path) -> None:
    before = set(workspace.rglob("*"))
    plans = [answer(skillrun(*train_arguments(boards), "--dry-run", "--json"))["plan"] for _ in range(2)]
    assert set(workspace.rglob("*")) == before
    assert plans[0]["run_id"] != plans[1]["run_id"] or plans[0] == plans[1]
    assert plans[0]["plan_hash"] == plans[1]["plan_hash"]
    other = answer(skillrun(*train_arguments(boards, "num_epochs=3"), "--dry-run", "--json"))["plan"]
    assert other["plan_hash"] != plans[0]["plan_hash"]
    assert Plan.model_validate(other).to_json() == Plan.from_json(Plan.model_validate(other).to_json()).to_json()


def test_explain_says_where_each_value_came_from(skillrun, boards: Path) -> None:
    rows = answer(skillrun(*train_arguments(boards, "num_epochs=3"), "--explain", "--json"))["keys"]
    origin = {row["key"]: row["from"] for row in rows}
    assert origin["train.num_epochs"] == "argument 'num_epochs=3'"
    assert origin["dataset.classify.image_ext"] == "data set"
    assert origin["train.optim.lr"] == "template"
    assert origin["results_dir"] == "run folder"


@pytest.fixture
def long_run(workspace: Path, boards: Path) -> Iterator[subprocess.Popen[str]]:
    """A training that would take minutes, watched by ``skillrun`` in the foreground."""
    command = str(Path(sys.executable).with_name("skillrun"))
    process = subprocess.Popen(
        [command, *train_arguments(boards, "num_epochs=500")],
        cwd=workspace,
        env=os.environ.copy(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: any(list_runs(workspace)) and trains(next(list_runs(workspace))))
    yield process
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


def trains(run: RunFolder) -> bool:
    return (
        run.events.is_file() and '"train"' in run.events.read_text(encoding="utf-8") and status(run).state == "running"
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_ctrl_c_once_detaches_and_the_run_goes_on(skillrun, workspace: Path, long_run) -> None:
    run = next(list_runs(workspace))
    long_run.send_signal(signal.SIGINT)
    assert long_run.wait(timeout=30) == 130
    said = long_run.stderr.read()
    assert f"skillrun runs attach {run.run_id}" in said
    assert f"skillrun runs stop {run.run_id}" in said
    assert status(run).state == "running"
    assert skillrun("runs", "rm", run.run_id, "--yes").returncode == 6
    assert answer(skillrun("runs", "stop", run.run_id, "--json"))["run"]["state"] == "cancelled"
    assert list(run.path.rglob("*.pth")), "a stopped training keeps a checkpoint"


def test_ctrl_c_twice_stops_the_run(workspace: Path, long_run) -> None:
    run = next(list_runs(workspace))
    long_run.send_signal(signal.SIGINT)
    while "detached" not in (line := long_run.stderr.readline()):
        assert line, "the command ended without saying that it detached"
    long_run.send_signal(signal.SIGINT)
    assert long_run.wait(timeout=60) == 130
    assert status(run).state == "cancelled"


def test_a_killed_launcher_leaves_the_training_running_and_attach_finds_it(skillrun, workspace: Path, long_run) -> None:
    run = next(list_runs(workspace))
    long_run.kill()
    long_run.wait()
    assert status(run).state == "running"
    command = str(Path(sys.executable).with_name("skillrun"))
    attached = subprocess.Popen(
        [command, "runs", "attach", "last"], cwd=workspace, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert attached.stderr is not None
    assert "epoch" in attached.stderr.readline()
    stopped = skillrun("runs", "stop", "last")
    assert stopped.returncode == 0, stopped.stderr
    assert attached.wait(timeout=30) == 9
    attached.stderr.close()
    assert status(run).state == "cancelled"


PUBLISHED = """
encryption_key: tlt_encode
task: classify
results_dir: {folder}/my results
train:
  results_dir: "${{results_dir}}/train"
  pretrained_model_path: null
  classify: {{loss: ce, cls_weight: [1.0, 10.0]}}
  num_epochs: 1
  validation_interval: 5
  optim: {{lr: 0.0001, policy: linear, momentum: 0.9}}
model:
  backbone: {{type: fan_tiny_8_p4_hybrid, pretrained_backbone_path: null}}
  decode_head: {{feature_strides: [4, 8, 16, 16]}}
  classify: {{difference_module: learnable, embed_dec: 30, eval_margin: 0.005}}
dataset:
  classify:
    train_dataset: {{csv_path: my boards/train/dataset.csv, images_dir: my boards/train/images}}
    validation_dataset: {{csv_path: my boards/eval/dataset.csv, images_dir: my boards/eval/images}}
    image_ext: .png
    num_input: 1
    input_map: null
    image_width: 32
    image_height: 32
evaluate:
  checkpoint: ???
export:
"""


def test_a_spec_of_the_documented_kind_runs_in_the_launchers_spelling(skillrun, workspace: Path, boards: Path) -> None:
    quoted = str(workspace).replace("'", "''")
    text = PUBLISHED.format(folder="FOLDER").replace("FOLDER/my results", f"'{quoted}/my results'")
    (workspace / "spec.yaml").write_text(text, encoding="utf-8")
    result = skillrun(
        "model", "visual_changenet", "train", "-e", "spec.yaml", "batch_size=4", "train.threads=1", "--json"
    )
    entry = answer(result)["checkpoints"][0]
    run = RunFolder(Path(answer(result)["run"]["run_dir"]))
    assert (run.path / entry["path"]).resolve().parent == (workspace / "my results" / "train").resolve()
    assert (workspace / "my results" / "train" / "changenet_model_classify_latest.pth").is_symlink()

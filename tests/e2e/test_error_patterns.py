"""The documented error patterns, provoked by typing the command; the table of them names tests that exist."""

from __future__ import annotations

import ast
import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skillrun import bank, catalogue
from skillrun.data.synth import synth

Command = Callable[..., "subprocess.CompletedProcess[str]"]

ROOT = bank.bank_root()
KIND = "fan_tiny_8_p4_hybrid"
BASE = ("visual_changenet", "train", "--no-automl", "--backend", "local", f"model.backbone.type={KIND}")
SMALL = (
    "model.backbone.pretrained_backbone_path=null",
    "model.decode_head.decoder_params.embed_dim=16",
    "dataset.classify.image_width=64",
    "dataset.classify.image_height=64",
    "dataset.classify.workers=0",
    "batch_size=2",
    "num_epochs=1",
    "train.threads=1",
    "train.tensorboard.enabled=false",
)
ROW = re.compile(r"^\| (?P<pattern>.+?) \| (?P<code>.+?) \| (?P<when>\w+) \| `(?P<test>.+?)` \|$", re.MULTILINE)


@pytest.fixture
def boards(workspace: Path) -> Path:
    folder = workspace / "my boards"
    synth(folder, pairs=8, size=32, seed=3)
    return folder


@pytest.fixture
def train(skillrun: Command, boards: Path) -> Command:
    data = ("--train-data", boards / "train", "--eval-data", boards / "eval")
    return lambda *words: skillrun(*BASE, *data, *SMALL, *words)


def refused(result: subprocess.CompletedProcess[str], workspace: Path, code: str, exit_code: int, *words: str) -> None:
    """One error with its code and a fix, the exit code of the catalogue, and no run left behind."""
    assert result.returncode == exit_code, result.stderr
    assert exit_code in catalogue.entries()[code].exit_codes
    assert f"error[{code}]: " in result.stderr
    assert "\n  fix: " in result.stderr
    for word in words:
        assert word in result.stderr
    assert not list(workspace.glob("runs/*"))


def test_a_checkpoint_of_a_documented_name_that_is_not_there(skillrun: Command, boards: Path, workspace: Path) -> None:
    named = "evaluate.checkpoint=/results/train/changenet_model_classify_latest.pth"
    result = skillrun("visual_changenet", "evaluate", "--backend", "local", "--eval-data", boards / "eval", named)
    refused(result, workspace, "E_SPEC_PATH", 5, "changenet_model_classify_latest.pth")


def test_a_backbone_that_is_not_there(train: Command, workspace: Path) -> None:
    result = train("model.backbone.pretrained_backbone_path=/weights/none.pth")
    assert re.search(r"error\[E_(SPEC_PATH|WEIGHTS_MISSING|STAGE_FILE)\]", result.stderr), result.stderr
    assert result.returncode == 5 and not list(workspace.glob("runs/*"))


CONTRADICTIONS = {
    "E_RULE_CONTRASTIVE_NEEDS_EUCLIDEAN": (
        "train.classify.loss=contrastive",
        "model.classify.difference_module=learnable",
    ),
    "E_RULE_CE_NEEDS_LEARNABLE": ("train.classify.loss=ce", "model.classify.difference_module=euclidean"),
    "E_RULE_MARGIN_IS_PROBABILITY": ("model.classify.difference_module=learnable", "model.classify.eval_margin=2.0"),
    "E_RULE_FREEZE_NEEDS_WEIGHTS": ("model.backbone.freeze_backbone=true",),
    "E_RULE_LIGHTS": ("dataset.classify.num_input=2",),
    "E_RULE_CLASSIFY_BATCH": ("batch_size=1",),
}


@pytest.mark.parametrize(("code", "overrides"), CONTRADICTIONS.items(), ids=CONTRADICTIONS)
def test_keys_that_contradict_each_other_are_refused_before_anything_is_written(
    code: str, overrides: tuple[str, ...], train: Command, workspace: Path
) -> None:
    refused(train(*overrides), workspace, code, 2)


def test_intervals_above_the_epochs_are_lowered_and_said(train: Command) -> None:
    result = train("train.validation_interval=50", "train.checkpoint_interval=200", "--dry-run")
    assert result.returncode == 0, result.stderr
    for key in ("train.validation_interval was 50, is now 1", "train.checkpoint_interval was 200, is now 1"):
        assert key in result.stdout + result.stderr


def test_gpus_on_a_host_without_a_driver(train: Command, workspace: Path) -> None:
    """GPUs that are asked for and not there are refused; the CPU would be no answer."""
    for further in (("--check",), ()):
        result = train("--gpus", "64", *further)
        assert result.returncode == 2
        assert "E_GPU_COUNT" in result.stdout + result.stderr and "--gpus none" in result.stdout + result.stderr
    assert not (workspace / "runs").exists()


def test_further_columns_of_a_csv_do_no_harm(skillrun: Command, boards: Path) -> None:
    table = boards / "train" / "dataset.csv"
    rows = list(csv.reader(table.read_text(encoding="utf-8").splitlines()))
    wider = [[*row, "operator" if place == 0 else "Ann"] for place, row in enumerate(rows)]
    table.write_text("\n".join(map(",".join, wider)) + "\n", encoding="utf-8")
    result = skillrun("data", "check", boards / "train")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_training_that_runs_out_of_memory_names_the_knob(skillrun: Command, boards: Path, workspace: Path) -> None:
    """Under a limit of address space, as a container has one of memory."""
    data = ("--train-data", boards / "train", "--eval-data", boards / "eval")
    large = ("dataset.classify.image_width=2048", "dataset.classify.image_height=2048", "batch_size=4")
    command = [Path(sys.executable).with_name("skillrun"), *BASE, *data, *SMALL, *large]
    result = subprocess.run(
        ["prlimit", "--as=5000000000", *map(str, command)],
        cwd=workspace,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 9, result.stderr
    assert "E_RUN_MEMORY" in result.stderr and "batch_size" in result.stderr


def test_a_model_that_learnt_nothing_or_whose_margin_decides_nothing_is_said(train: Command, skillrun: Command) -> None:
    result = train("train.optim.lr=1e-9")
    assert result.returncode == 0, result.stderr
    measured = skillrun("visual_changenet", "evaluate", "--parent", "last", "model.classify.eval_margin=0.999")
    assert measured.returncode == 0, measured.stderr
    assert re.search(r"W_TRAIN_CHANCE|W_EVAL_ONE_SIDED", measured.stderr), measured.stderr
    code = re.search(r"W_TRAIN_CHANCE|W_EVAL_ONE_SIDED", measured.stderr)
    explained = skillrun("explain", code[0] if code else "")
    assert explained.returncode == 0 and "skillrun" in explained.stdout


def test_fewer_pairs_than_a_batch(train: Command) -> None:
    result = train("batch_size=64")
    assert result.returncode in (7, 9), result.stderr
    assert "error[E_DATA_TOO_SMALL]" in result.stderr and "batch_size" in result.stderr


def test_a_second_training_never_takes_up_an_old_checkpoint(train: Command, workspace: Path) -> None:
    for epochs in (2, 1):
        result = train(f"num_epochs={epochs}")
        assert result.returncode == 0, result.stderr
    assert len(list(workspace.glob("runs/*/result.json"))) == 2


def test_segment_has_no_operator_to_compile() -> None:
    """The model builds and loads no native code: no extension of C++ or CUDA, no library of operators."""
    folder = ROOT / "containers" / "visual_changenet"
    assert not [path for kind in ("*.cu", "*.cpp", "*.so") for path in folder.rglob(kind)]
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "cpp_extension" not in text and "load_library" not in text, path


@pytest.mark.parametrize(
    "row",
    [item.groupdict() for item in ROW.finditer((ROOT / "docs/error-patterns.md").read_text(encoding="utf-8"))],
    ids=lambda row: row["pattern"],
)
def test_a_row_of_the_table_names_a_code_and_a_test_that_exist(row: dict[str, str]) -> None:
    assert row["when"] in ("plan", "check", "launch", "run", "never")
    if not row["code"].startswith("none: "):
        assert row["code"].strip("`") in catalogue.entries()
    path, _, name = row["test"].partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_line_of_the_table_is_read_and_each_test_of_a_pattern_is_in_it() -> None:
    text = (ROOT / "docs/error-patterns.md").read_text(encoding="utf-8")
    lines = [
        line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| documented"))
    ]
    assert len(lines) == len(ROW.findall(text)) > 30
    here = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    own = [node.name for node in here.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    about_the_table = ("test_a_row_of_the_table", "test_each_line_of_the_table")
    assert not [name for name in own if name not in text and not name.startswith(about_the_table)]

"""A margin chosen on an evaluation goes with its checkpoint: into decisions, plans and exported models, no further."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from skillrun.data.synth import synth
from skillrun.inspection import read_threshold
from skillrun.runfolder import RunFolder, read_json
from skillrun.specfile import read_spec
from visual_changenet import Predictor

TRAIN = (
    "model.backbone.type=fan_tiny_8_p4_hybrid",
    "model.decode_head.decoder_params.embed_dim=16",
    "dataset.classify.image_width=64",
    "dataset.classify.image_height=64",
    "dataset.classify.workers=0",
    "train.tensorboard.enabled=false",
    "pretrained_backbone=",
    "batch_size=4",
    "num_epochs=2",
    "train.checkpoint_interval=1",
)
MARGIN = "model.classify.eval_margin"


@dataclass
class Line:
    """A workspace in which commands are typed.

    Attributes:
        runs: the runs so far, by the name that the test gave.
        said: what each said on stderr.
    """

    folder: Path
    runs: dict[str, RunFolder] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def type(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        places = {"SKILLRUN_WORKSPACE": str(self.folder), "SKILLRUN_CACHE": str(self.folder / "cache")}
        return subprocess.run(
            [str(Path(sys.executable).with_name("skillrun")), *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **places, "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def step(self, name: str, action: str, *arguments: str | Path) -> RunFolder:
        """A run that has to succeed."""
        done = self.type("visual_changenet", action, *arguments, "train.threads=1", "--json")
        assert done.returncode == 0, f"{name}: {done.stderr}"
        self.runs[name] = RunFolder(Path(json.loads(done.stdout)["run"]["run_dir"]))
        self.said[name] = done.stderr
        return self.runs[name]

    def id(self, name: str) -> str:
        return self.runs[name].run_id

    def explained(self, action: str, *arguments: str | Path) -> tuple[float, str]:
        """The margin that a command would decide by, and where it came from."""
        done = self.type("visual_changenet", action, *arguments, "--explain", "--json")
        assert done.returncode == 0, done.stderr
        keys = {row["key"]: row for row in json.loads(done.stdout)["keys"]}
        return float(keys[MARGIN]["value"]), keys[MARGIN]["from"]

    def threshold(self, *arguments: str) -> dict[str, Any]:
        done = self.type("threshold", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def margin_of(run: RunFolder) -> float:
    return float(read_spec(run.spec).values["model"]["classify"]["eval_margin"])


def decisions(run: RunFolder) -> list[tuple[float, str]]:
    with (run.results / "inference" / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        return [(float(row["score"]), row["decision"]) for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A training, its evaluation, a first inference and an export, all with the margin of the template."""
    made = Line(tmp_path_factory.mktemp("a b'c\"ü,é$x"))
    boards = made.folder / "boards"
    synth(boards, pairs=24, size=64, seed=5)
    data = ("--train-data", boards / "train", "--eval-data", boards / "eval")
    made.step("train", "train", "--no-automl", *data, *TRAIN)
    made.step("evaluate", "evaluate", "--parent", made.id("train"), "--eval-data", boards / "eval")
    made.step("before", "inference", "--parent", made.id("train"), "--infer-data", boards / "eval")
    made.step("export before", "export", "--parent", made.id("train"))
    return made


@pytest.fixture(scope="module")
def chosen(line: Line) -> float:
    """The margin that the training's evaluation calls for; the worst of the good pairs may pass no more."""
    said = line.type("threshold", line.id("train"), "--max-overkill", "30%")
    assert said.returncode == 0, said.stderr
    assert f"its newest evaluation is {line.id('evaluate')}" in said.stderr
    assert f"next: skillrun visual_changenet export --parent {line.id('evaluate')}" in said.stderr
    assert "in use" in said.stdout
    assert "max-overkill 30%" in said.stdout
    found = read_threshold(line.runs["evaluate"])
    assert found is not None
    return found.margin


def test_the_sweep_and_the_table_of_scores_agree_with_what_was_chosen(line: Line, chosen: float) -> None:
    run = line.runs["evaluate"]
    kinds = {entry["kind"]: run.path / entry["path"] for entry in (read_json(run.result) or {})["artifacts"]}
    with kinds["sweep"].open(encoding="utf-8", newline="") as stream:
        rows = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(stream)]
    found = read_threshold(run)
    assert found is not None
    below = [row for row in rows if row["false_calls"] == found.overkill.count]
    assert found.escape.count == min(row["escapes"] for row in below)
    best = next(entry for entry in (read_json(line.runs["train"].result) or {})["checkpoints"] if entry["best"])
    assert found.sha256 == best["sha256"]


def test_decisions_change_with_the_chosen_margin_and_the_scores_do_not(line: Line, chosen: float) -> None:
    run = line.step("after", "inference", "--parent", line.id("train"), "--infer-data", line.folder / "boards" / "eval")
    assert f"note: margin {chosen:.6g} from threshold.json of {line.id('evaluate')}" in line.said["after"]
    assert margin_of(run) == chosen
    before, after = decisions(line.runs["before"]), decisions(run)
    assert [score for score, _ in after] == pytest.approx([score for score, _ in before], abs=1e-6)
    assert [word for _, word in after] == ["NO_PASS" if score > chosen else "PASS" for score, _ in after]
    assert [word for _, word in after] != [word for _, word in before]


def test_the_exported_model_decides_by_it_and_an_older_one_is_told_of(line: Line, chosen: float) -> None:
    run = line.step("export", "export", "--parent", line.id("evaluate"))
    model = next(path for path in run.results.rglob("*.onnx"))
    assert Predictor(model).card.margin == chosen
    old = line.type("visual_changenet", "evaluate", "--parent", line.id("export before"), "--dry-run")
    assert old.returncode == 0, old.stderr
    assert f"carries margin {margin_of(line.runs['export before'])}" in old.stdout
    assert f"skillrun visual_changenet export --parent {line.id('train')}" in old.stdout
    new = line.type("visual_changenet", "evaluate", "--parent", line.id("export"), "--dry-run")
    assert "carries margin" not in new.stdout


@pytest.mark.parametrize("action", ["evaluate", "inference", "export", "quantize"])
def test_each_action_explains_where_the_margin_came_from_and_an_override_wins(
    action: str, line: Line, chosen: float
) -> None:
    boards = line.folder / "boards"
    data = ("--infer-data", boards / "eval") if action == "inference" else ()
    given = ("--parent", line.id("train"), *data, *(["--calibration-data", boards / "train"] * (action == "quantize")))
    assert line.explained(action, *given) == (chosen, f"threshold.json of {line.id('evaluate')}")
    margin, origin = line.explained(action, *given, f"{MARGIN}=0.77")
    assert margin == 0.77
    assert origin == f"argument '{MARGIN}=0.77'"


def test_another_checkpoint_does_not_get_it_nor_does_a_new_training(line: Line, chosen: float) -> None:
    listed = (read_json(line.runs["train"].result) or {})["checkpoints"]
    other = next(entry for entry in listed if not entry["best"])
    path = line.runs["train"].path / other["path"]
    parent = ("--parent", line.id("train"))
    for given in (("--pick", f"epoch={other['epoch']}"), (f"export.checkpoint={path}",)):
        margin, origin = line.explained("export", *parent, *given)
        assert margin == margin_of(line.runs["train"])
        assert origin == f"parent {line.id('train')}"
    boards = line.folder / "boards"
    data = ("--train-data", boards / "train", "--eval-data", boards / "eval")
    assert line.explained("train", "--no-automl", *parent, *data)[1] == f"parent {line.id('train')}"


def test_the_newest_of_several_counts_unless_an_evaluation_is_named(line: Line, chosen: float) -> None:
    eval_data = ("--eval-data", line.folder / "boards" / "eval")
    line.step("again", "evaluate", "--parent", line.id("train"), *eval_data, f"{MARGIN}=0.9")
    newer = line.threshold(line.id("again"), "--max-escape", "40%")["threshold"]["margin"]
    assert line.explained("export", "--parent", line.id("train")) == (newer, f"threshold.json of {line.id('again')}")
    named = line.explained("export", "--parent", line.id("evaluate"))
    assert named == (chosen, f"threshold.json of {line.id('evaluate')}")
    (line.runs["again"].path / "threshold.json").unlink()


def test_choosing_again_replaces_the_margin_and_tells_the_former(line: Line, chosen: float) -> None:
    answer = line.threshold(line.id("evaluate"), "--max-overkill", "30%")
    assert answer["former"]["margin"] == chosen
    assert answer["threshold"]["margin"] == chosen, "the same pairs, the same rule, the same margin"
    assert answer["proven"] is False


def labelled_by_score(line: Line) -> tuple[Path, float]:
    """The eval boards with the higher half of all scores labelled as defects, and a margin that only one exceeds."""
    source, copied = line.folder / "boards" / "eval", line.folder / "sorted boards"
    shutil.copytree(source, copied)
    with (line.runs["before"].results / "inference" / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        scores = {row["path"].rpartition(".")[0]: float(row["score"]) for row in csv.DictReader(stream)}
    ranked = sorted(scores.values())
    with (source / "dataset.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        higher = scores[f"{row['input_path']}/{row['object_name']}"] >= ranked[len(ranked) // 2]
        row["label"] = "open" if higher else "PASS"
    with (copied / "dataset.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    return copied, (ranked[-1] + ranked[-2]) / 2


def test_a_margin_that_does_not_fit_is_said_with_the_command_that_chooses_another(line: Line) -> None:
    boards, margin = labelled_by_score(line)
    words = ("--parent", line.id("train"), "--eval-data", boards, f"{MARGIN}={margin}", "train.threads=1")
    done = line.type("visual_changenet", "evaluate", *words)
    assert done.returncode == 0 and "W_EVAL_MARGIN" in done.stderr, done.stderr
    fix = re.search(r"skillrun threshold (\S+) --max-overkill (\S+%)", done.stderr)
    assert fix and line.type("threshold", fix[1], "--max-overkill", fix[2]).returncode == 0
    shutil.rmtree(next(line.folder.glob(f"runs/{fix[1]}")))  # the evaluations of the others stay the newest


def test_a_run_that_is_no_evaluation_says_how_to_get_one(line: Line, chosen: float) -> None:
    done = line.type("threshold", line.id("export before"), "--max-escape", "1%")
    assert done.returncode == 5
    assert "E_EVALUATION_MISSING" in done.stderr
    assert line.type("threshold", line.id("evaluate")).returncode == 2

"""``skillrun threshold`` as a person and as a program reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from skillrun.cli.threshold import threshold
from skillrun.inspection import read_threshold
from skillrun.runfolder import RunFolder

Command = Callable[..., Result]
GOOD = [0.05, 0.1, 0.15, 0.2]
DEFECTS = [0.5, 0.7, 0.8, 0.9]


@pytest.fixture
def evaluation(hostile_dir: Path) -> RunFolder:
    """An evaluation of a checkpoint, decided at a margin that lets a defect pass."""
    run = RunFolder(hostile_dir / "runs" / "261121-000000-evaluate-aa")
    run.path.mkdir(parents=True)
    model = hostile_dir / "model.pth"
    parent = {"run_id": "261120-000000-train-bb", "checkpoint": str(model), "sha256": "aa"}
    run.write_record(action="evaluate", task="classify", parent=parent)
    run.spec.write_text(json.dumps({"evaluate": {"checkpoint": str(model)}}), encoding="utf-8")
    lines = [*(f"PASS,{score}" for score in GOOD), *(f"bridge,{score}" for score in DEFECTS)]
    (run.path / "evaluate.csv").write_text("\n".join(["label,siamese_score", *lines]), encoding="utf-8")
    result = {"status": "succeeded", "metrics": {"margin": 0.6}, "artifacts": [{"path": "evaluate.csv"}]}
    run.result.write_text(json.dumps(result), encoding="utf-8")
    return run


@pytest.fixture
def command(evaluation: RunFolder) -> Command:
    app = typer.Typer()
    app.command()(threshold)
    workspace = str(evaluation.path.parent.parent)
    return lambda *words: CliRunner().invoke(app, [*words, "--workspace", workspace], catch_exceptions=True)


def test_a_person_sees_both_margins_what_is_proven_and_the_next_command(
    command: Command, evaluation: RunFolder
) -> None:
    said = command("last", "--max-escape", "1%")
    assert said.exit_code == 0, said.output
    rows = [line.split() for line in said.stdout.splitlines()]
    assert ["in", "use", "0.6", "1", "of", "4"] in [row[:6] for row in rows]
    assert ["chosen", "0.3", "0", "of", "4"] in [row[:5] for row in rows]
    assert "kept by the count, not by the upper end" in said.stdout
    assert "381 defects without an escape would prove it" in said.stdout
    assert "replaces" not in said.stdout
    assert said.stderr == f"next: skillrun visual_changenet export --parent {evaluation.run_id}\n"
    again = command("last", "--cost", "escape=50,overkill=1")
    assert "replaces  margin 0.3 (max-escape 1%)" in again.stdout
    assert "least for 4 good pairs to 4 defects" in again.stdout


@pytest.mark.parametrize(("limit", "proven"), [("60%", True), ("40%", False), ("0", False)])
def test_a_program_reads_whether_a_limit_is_proven(
    limit: str, proven: bool, command: Command, evaluation: RunFolder
) -> None:
    said = command(evaluation.run_id, "--max-overkill", limit, "--json")
    answer = json.loads(said.stdout)
    assert said.stderr == ""
    assert (answer["proven"], answer["former"]) == (proven, None)
    assert answer["in_use"]["escape"]["count"] == 1
    assert (answer["needed"] is None) == (limit == "0")
    kept = read_threshold(evaluation)
    assert kept is not None
    assert answer["threshold"] == kept.to_json()
    assert kept.sha256 == "aa"


def test_a_threshold_that_can_not_be_read_is_written_anew(command: Command, evaluation: RunFolder) -> None:
    (evaluation.path / "threshold.json").write_text("{", encoding="utf-8")
    assert command("last", "--max-escape", "1%").exit_code == 0
    assert read_threshold(evaluation) is not None


def test_without_the_model_file_the_margin_is_kept_and_said_to_go_no_further(
    command: Command, evaluation: RunFolder
) -> None:
    evaluation.write_record(parent=None)
    said = command("last", "--max-escape", "1%")
    assert "not carried" in said.stdout
    assert said.stderr == f"next: skillrun visual_changenet evaluate --parent {evaluation.run_id}\n"


def test_an_evaluation_of_an_exported_model_leads_to_an_export_with_the_margin(
    command: Command, evaluation: RunFolder
) -> None:
    export = RunFolder(evaluation.path.with_name("261120-120000-export-cc"))
    export.path.mkdir()
    export.write_record(action="export", parent=evaluation.read_record()["parent"])
    evaluation.write_record(parent={"run_id": export.run_id, "checkpoint": "model.onnx", "sha256": None})
    said = command("last", "--max-escape", "1%")
    assert "export --parent 261120-000000-train-bb model.classify.eval_margin=0.3" in said.stderr

"""The segment job as a user does it: draw or name pairs, train, evaluate, look at the pictures, infer."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from skillrun.runfolder import RunFolder, read_json
from skillrun.watch import follow, read_events

Command = Callable[..., "subprocess.CompletedProcess[str]"]

TINY = (
    "model.backbone.type=fan_tiny_8_p4_hybrid",
    "model.decode_head.decoder_params.embed_dim=16",
    "segment_img_size=64",
    "segment_batch_size=4",
    "segment_workers=0",
    "train.threads=1",
)


def answer(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def results_of(said: dict[str, Any], action: str) -> Path:
    return Path(said["run"]["run_dir"]) / "results" / action


def names(root: Path, split: str) -> list[str]:
    return (root / "list" / f"{split}.txt").read_text(encoding="utf-8").split()


@pytest.fixture
def boards(skillrun: Command, workspace: Path) -> Path:
    root = workspace / "my boards"
    drawn = skillrun("data", "synth", "--task", "segment", "--out", root, "--pairs", "12", "--size", "64")
    assert drawn.returncode == 0, drawn.stderr
    assert "segment_train" in drawn.stderr
    assert "segment_img_size=64" in drawn.stderr
    return root


def check_drawn(folder: Path, listed: list[str], columns: int, side: int) -> None:
    """A lossless mask and a side-by-side picture of ``columns`` images for every listed pair."""
    for name in listed:
        with Image.open(folder / "masks" / f"{Path(name).stem}.png") as mask:
            assert (mask.mode, mask.size) == ("L", (side, side))
            assert {value for _, value in mask.getcolors() or []} <= {0, 255}
        with Image.open(folder / "combined_visualisation" / f"{name}.jpg") as picture:
            assert picture.size == (columns * side + (columns - 1) * 10, side)


def test_train_evaluate_and_infer_masks(skillrun: Command, workspace: Path, boards: Path) -> None:
    trained = answer(
        skillrun(
            *("visual_changenet", "segment_train", "--no-automl", "--train-data", boards, "--eval-data", boards),
            *(*TINY, "num_epochs=2", "dataset.segment.align=translation", "--json"),
        )
    )
    assert trained["run"]["task"] == "segment"
    assert {"train_loss", "val_loss", "val_iou_1", "val_miou"} <= trained["run"]["metrics"].keys()
    assert any(entry["best"] for entry in trained["checkpoints"])
    train_id = trained["run"]["run_id"]
    result = read_json(RunFolder(Path(trained["run"]["run_dir"])).result) or {}
    assert (result["status"], result["task"], result["action"]) == ("succeeded", "segment", "train")

    evaluated = skillrun("visual_changenet", "segment_evaluate", "--parent", "last", "--eval-data", boards)
    assert evaluated.returncode == 0, evaluated.stderr
    lines = [line.split() for line in evaluated.stdout.splitlines()]
    assert [words[0] for words in lines[1:3]] == ["test_iou_1", "test_F1_1"]
    assert "test_iou_0" not in evaluated.stdout
    shown = answer(skillrun("runs", "show", "last", "--json"))
    assert {"test_miou", "test_iou_0", "test_iou_1", "test_acc"} <= shown["run"]["metrics"].keys()
    folder = results_of(shown, "evaluate")
    check_drawn(folder, names(boards, "test"), 4, 64)
    assert "next: skillrun report " in evaluated.stderr and " --open" in evaluated.stderr
    spec = Path(shown["run"]["run_dir"], "spec.yaml").read_text(encoding="utf-8")
    assert "align: translation" in spec
    assert "img_size: 64" in spec

    (boards / "list" / "predict.txt").unlink()
    for mask in (boards / "label").iterdir():
        mask.unlink()
    inferred = answer(
        skillrun(
            *("visual_changenet", "inference", "--task", "segment", "--parent", train_id),
            *("--infer-data", boards, "--json"),
        )
    )
    folder = results_of(inferred, "inference")
    check_drawn(folder, names(boards, "test"), 3, 64)
    with (folder / "inference.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == names(boards, "test")
    assert any(entry["kind"] == "pictures" for entry in inferred["artifacts"])
    listed = answer(skillrun("runs", "list", "--json"))["runs"]
    assert [row["action"] for row in listed] == ["segment_inference", "segment_evaluate", "segment_train"]
    assert "test_iou_1" in listed[1]["result"]


def test_the_satellite_samples_run_as_they_are(skillrun: Command, shared: Path) -> None:
    samples = shared / "data" / "levir_samples"
    if not samples.is_dir():
        pytest.skip("no LEVIR samples beside this checkout")
    listed = names(samples, "demo")
    trained = skillrun(
        *("visual_changenet", "train", "--task", "segment", "--no-automl", "--train-data", samples, *TINY),
        *("dataset.segment.train_split=demo", "dataset.segment.validation_split=demo", "num_epochs=1", "--json"),
    )
    assert answer(trained)["run"]["metrics"]["val_loss"] > 0
    data = ("--parent", answer(trained)["run"]["run_id"], "--json")
    test = ("--eval-data", samples, "dataset.segment.test_split=demo")
    evaluated = answer(skillrun("visual_changenet", "segment_evaluate", *data, *test))
    assert 0 <= evaluated["run"]["metrics"]["test_miou"] <= 1
    check_drawn(results_of(evaluated, "evaluate"), listed, 4, 64)
    predict = ("--infer-data", samples, "dataset.segment.predict_split=demo")
    inferred = answer(skillrun("visual_changenet", "segment_inference", *data, *predict))
    check_drawn(results_of(inferred, "inference"), listed, 3, 64)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_training_is_resumed_where_it_stopped(
    workers: int, skillrun: Command, workspace: Path, boards: Path
) -> None:
    epochs = 12
    tiny = [word.replace("workers=0", f"workers={workers}") for word in TINY]
    launched = skillrun(
        *("visual_changenet", "segment_train", "--no-automl", "--train-data", boards, *tiny),
        *(f"num_epochs={epochs}", "train.checkpoint_interval=4", "--detach", "--json"),
    )
    run = RunFolder(Path(answer(launched)["run_dir"]))
    first = next(event for event in follow(run) if event["event"] == "epoch")
    assert first["epoch"] == 1
    stopped = answer(skillrun("runs", "stop", "last", "--json"))
    assert stopped["run"]["state"] == "cancelled"
    assert stopped["run"]["error"]["code"] == "E_CANCELLED"
    resumed = skillrun("runs", "resume", "last", "--json")
    assert answer(resumed)["run"]["run_id"] == run.run_id
    assert "epoch 1 " not in resumed.stderr
    events, _ = read_events(run.events)
    trained = [event["epoch"] for event in events if event["event"] == "epoch"]
    assert trained[-1] == epochs
    assert sorted(set(trained)) == list(range(1, epochs + 1))
    assert skillrun("runs", "resume", "last").returncode == 2


def test_bad_masks_are_refused_before_the_start(skillrun: Command, workspace: Path, boards: Path) -> None:
    bad = boards / "label" / names(boards, "train")[0]
    Image.new("L", (64, 64), 7).save(bad)
    result = skillrun("visual_changenet", "segment_train", "--no-automl", "--train-data", boards, *TINY)
    assert result.returncode == 7
    assert "error[E_DATA_MASK_VALUES]" in result.stderr
    assert bad.name in result.stderr
    assert not (workspace / "runs").exists()
    other = skillrun(
        *("visual_changenet", "segment_train", "--no-automl", "--train-data", boards),
        *("--eval-data", workspace, *TINY, "--dry-run"),
    )
    assert other.returncode == 7
    assert "lists of all splits" in other.stderr

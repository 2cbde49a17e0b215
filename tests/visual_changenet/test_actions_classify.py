"""train, evaluate and inference through the real command, each in its own process."""

import csv
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch


def test_training_lists_checkpoints_that_exist_and_ends_with_success(trained: Path, case: Any) -> None:
    folder = trained / "results" / "train"
    found = case.result(folder)
    assert found["status"] == "succeeded"
    assert [entry["epoch"] for entry in found["checkpoints"]] == [0, 1]
    assert [entry["last"] for entry in found["checkpoints"]] == [False, True]
    assert sum(entry["best"] for entry in found["checkpoints"]) == 1
    assert all((folder / entry["path"]).is_file() for entry in found["checkpoints"])
    assert (folder / "changenet_model_classify_latest.pth").readlink() == Path("model_epoch_001_step_00006.pth")
    assert case.lines(folder / "status.json")[-1]["status"] == "SUCCESS"
    events = case.lines(folder / "events.jsonl")
    assert [events[0]["event"], events[-1]["event"]] == ["start", "end"]
    epochs = [event for event in events if event["event"] == "epoch"]
    assert [event["lr"] for event in epochs] == pytest.approx([1e-4, 1e-4 * 2 / 3])
    assert {"train_loss", "val_loss", "val_ap", "val_acc", "val_fpr"} <= epochs[0]["metrics"].keys()


def test_the_checkpoint_loads_without_running_code_and_has_the_published_keys(trained: Path) -> None:
    path = trained / "results" / "train" / "changenet_model_classify_latest.pth"
    content = torch.load(path, weights_only=True)
    assert content["tao_model"] == "visual_changenet_classify"
    assert {
        "epoch",
        "global_step",
        "state_dict",
        "loops",
        "optimizer_states",
        "lr_schedulers",
        "spec",
    } <= set(content)
    assert content["state_dict"]["criterion.weight"].tolist() == [1.0, 10.0]


def test_evaluation_reports_metrics_and_keeps_the_rows(trained: Path, case: Any) -> None:
    spec = trained / "spec.yaml"
    done = case.run("evaluate", spec, "dataset.classify.image_height=64", "evaluate.batch_size=5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Tot Comp 12 Total Accuracy ")
    folder = trained / "results" / "evaluate"
    metrics = case.result(folder)["metrics"]
    assert metrics["num_defects"] == 4
    assert {"test_acc", "average_precision", "escape_rate", "recall_at_overkill_1pct"} <= metrics.keys()
    table = case.rows(folder / "evaluate.csv")
    assert table[0] == [
        "input_path",
        "golden_path",
        "label",
        "object_name",
        "board",
        "siamese_score",
        "predicted",
    ]
    assert [row[:5] for row in table[1:]] == case.rows(trained / "data.csv")[1:]
    sweep = case.rows(folder / "threshold_sweep.csv")
    assert sweep[0] == ["margin", "escapes", "false_calls", "escape_rate", "overkill_rate"]
    at_margin = next(row for row in sweep[1:] if float(row[0]) == metrics["margin"])
    assert [float(cell) for cell in at_margin[1:3]] == [metrics["escapes"], metrics["false_calls"]]
    assert {"path": "threshold_sweep.csv", "kind": "sweep"} in case.result(folder)["artifacts"]
    assert (folder / "worst_cases.png").stat().st_size > 0
    notices = [event["message"] for event in case.lines(folder / "events.jsonl") if event["event"] == "notice"]
    assert notices == ["dataset.classify.image_height is 32 as in the checkpoint, not 64."]


def test_inference_writes_a_score_per_row_even_without_labels(trained: Path, case: Any, tmp_path: Path) -> None:
    table = case.rows(trained / "data.csv")
    unlabelled = tmp_path / "ohne label.csv"
    with unlabelled.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([row[:2] + row[3:] for row in table])
    done = case.run("inference", trained / "spec.yaml", f"dataset.classify.infer_dataset.csv_path='{unlabelled}'")
    assert done.returncode == 0, done.stderr
    scored = case.rows(trained / "results" / "inference" / "inference.csv")
    assert scored[0][-1] == "siamese_score"
    assert [row[2] for row in scored[1:]] == [row[3] for row in table[1:]]
    assert all(0 <= float(row[-1]) <= 1 for row in scored[1:])
    decided = case.rows(trained / "results" / "inference" / "predictions.csv")
    assert decided[0] == ["path", "score", "decision", "board"]
    wanted = ["NO_PASS" if float(row[-1]) > 0.5 else "PASS" for row in scored[1:]]
    assert [row[2] for row in decided[1:]] == wanted
    metrics = case.result(trained / "results" / "inference")["metrics"]
    assert (metrics["margin"], metrics["num_no_pass"]) == (0.5, wanted.count("NO_PASS"))


def test_resuming_continues_epochs_steps_and_learning_rate(trained: Path, case: Any, tmp_path: Path) -> None:
    first = trained / "results" / "train" / "model_epoch_000_step_00003.pth"
    resume = f"train.resume_training_checkpoint_path={first}"
    done = case.run("train", trained / "spec.yaml", resume, f"results_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert [Path(entry["path"]).name for entry in case.result(tmp_path / "train")["checkpoints"]] == [
        "model_epoch_001_step_00006.pth"
    ]
    epochs = [event for event in case.lines(tmp_path / "train" / "events.jsonl") if event["event"] == "epoch"]
    assert [(event["epoch"], event["lr"]) for event in epochs] == [(2, pytest.approx(1e-4 * 2 / 3))]


def test_a_signal_saves_a_checkpoint_and_reports_cancelled(tmp_path: Path, case: Any) -> None:
    spec = case.write_spec(tmp_path, num_epochs=10_000, checkpoint_interval=10_000, validation_interval=10_000)
    environment = os.environ | {"SKILLRUN_RUN_DIR": str(tmp_path / "run")}
    with subprocess.Popen(case.command("train", spec), env=environment) as process:
        events = tmp_path / "run" / "events.jsonl"
        while process.poll() is None and '"progress"' not in (events.read_text() if events.exists() else ""):
            os.sched_yield()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 130
    found = case.result(tmp_path / "run")
    assert found["status"] == "cancelled"
    assert found["error"]["code"] == "E_CANCELLED"
    assert [(tmp_path / "run" / entry["path"]).is_file() for entry in found["checkpoints"]] == [True]


def test_a_bad_row_ends_with_code_7_and_one_line_that_names_it(tmp_path: Path, case: Any) -> None:
    spec = case.write_spec(tmp_path)
    (tmp_path / "unit" / "004.png").unlink()
    done = case.run("train", spec)
    assert done.returncode == 7
    assert done.stderr.startswith("error[E_DATA_IMAGE_MISSING]: ")
    assert "data.csv row 6" in done.stderr
    assert case.result(tmp_path / "results" / "train")["error"]["code"] == "E_DATA_IMAGE_MISSING"
    assert case.lines(tmp_path / "results" / "train" / "status.json")[-1]["status"] == "FAILURE"

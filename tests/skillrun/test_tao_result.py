"""The result of a run in NVIDIA's container, from what it left."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from skillrun.runfolder import RunFolder
from skillrun.tao.checkpoints import checkpoint_numbers, checkpoints_in, whole
from skillrun.tao.failures import explain
from skillrun.tao.result import result_from
from skillrun.watch import missing_files

STARTED = datetime.now(UTC) - timedelta(minutes=10)
LONG_AGO = (STARTED - timedelta(hours=1)).timestamp()
VERDICT = "[TAO Toolkit] - INFO - Execution status: PASS"


@pytest.fixture
def run_dir(hostile_dir: Path) -> Path:
    (hostile_dir / "results" / "train").mkdir(parents=True)
    return hostile_dir


def checkpoint(path: Path, content: str = "weights", *, old: bool = False) -> Path:
    """A file in the format that torch writes: a zip with its pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content * 100)
    if old:
        os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def status(folder: Path, *messages: str, kpi: Mapping[str, float] | None = None) -> Path:
    path = folder / "status.json"
    with path.open("a", encoding="utf-8") as stream:
        for message in messages:
            word = "FAILURE" if "error" in message or "interrupted" in message else "RUNNING"
            record: dict[str, Any] = {"date": "1/2/2026", "time": "1:2:3", "status": word, "message": message}
            stream.write(json.dumps(record | ({"kpi": kpi} if kpi else {})) + "\n")
    return path


def epochs(folder: Path, losses: Sequence[float]) -> None:
    path = status(folder, "Starting Visual ChangeNet train.")
    with path.open("a", encoding="utf-8") as stream:
        for number, loss in enumerate(losses):
            kpi = {"val_loss": loss, "val_acc": 50 - loss}
            for message, extra in (
                ("Eval metrics generated.", {"kpi": kpi}),
                ("Training loop in progress", {"epoch": number, "step": number, "max_epoch": len(losses) - 1}),
                ("Train metrics generated.", {"kpi": {"train_loss": 2 * loss}}),
            ):
                stream.write(json.dumps({"status": "RUNNING", "message": message, **extra}) + "\n")


def result(run_dir: Path, action: str = "train", **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "action": action,
        "task": "classify",
        "exit_code": 0,
        "started": STARTED.isoformat(),
        "finished": datetime.now(UTC).isoformat(),
        "seconds": 600.0,
        "last_log_lines": [VERDICT],
        "stopped": False,
    }
    return result_from(run_dir / "results" / action.removeprefix("segment_"), run_dir, **(given | changes))


def trained(run_dir: Path, losses: Sequence[float] = (0.5, 0.2, 0.3)) -> Path:
    """What a training leaves that reached its end."""
    folder = run_dir / "results" / "train"
    epochs(folder, losses)
    for number in range(len(losses)):
        name = checkpoint(folder / f"model_epoch_{number:03d}_step_{10 * (number + 1):05d}.pth", str(number)).name
    (folder / "changenet_model_classify_latest.pth").symlink_to(name)
    (folder / "experiment.yaml").write_text("train: {optim: {monitor_name: val_loss}}\n", encoding="utf-8")
    status(folder, "Training loop complete.", "Train finished successfully.")
    return folder


def test_a_training_that_reached_its_end_succeeds_and_lists_its_checkpoints(run_dir: Path) -> None:
    folder = trained(run_dir)
    found = result(run_dir)
    assert (found["status"], found["error"]) == ("succeeded", None)
    assert [entry["path"] for entry in found["checkpoints"]] == [
        "results/train/model_epoch_000_step_00010.pth",
        "results/train/model_epoch_001_step_00020.pth",
        "results/train/model_epoch_002_step_00030.pth",
    ]
    first = found["checkpoints"][0]
    assert first["sha256"] == hashlib.sha256((folder / "model_epoch_000_step_00010.pth").read_bytes()).hexdigest()
    assert (first["epoch"], first["step"]) == (0, 10)
    assert first["metrics"] == {"val_loss": 0.5, "val_acc": 49.5, "train_loss": 1.0}
    assert [(entry["best"], entry["last"]) for entry in found["checkpoints"]] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert found["metrics"] == {"val_loss": 0.3, "val_acc": 49.7, "train_loss": 0.6}
    assert {(item["path"], item["kind"]) for item in found["artifacts"]} == {
        ("results/train/experiment.yaml", "spec"),
        ("results/train/status.json", "status"),
    }
    assert missing_files(RunFolder(run_dir), found) == []
    json.dumps(found, allow_nan=False)


def test_the_results_folder_of_the_spec_is_as_good_as_that_of_the_action(run_dir: Path) -> None:
    trained(run_dir)
    given: dict[str, Any] = {
        "action": "train",
        "task": "classify",
        "exit_code": 0,
        "started": STARTED.isoformat(),
        "finished": STARTED.isoformat(),
        "seconds": 0.0,
        "last_log_lines": [],
        "stopped": False,
    }
    results = run_dir / "results"
    assert result_from(results, run_dir, **given) == result_from(results / "train", run_dir, **given)
    assert result_from(results, run_dir, **given)["status"] == "succeeded"


def test_the_best_is_by_the_number_that_the_spec_names(run_dir: Path) -> None:
    folder = trained(run_dir)
    (folder / "experiment.yaml").write_text("train: {optim: {monitor_name: val_acc}}\n", encoding="utf-8")
    assert [entry["best"] for entry in result(run_dir)["checkpoints"]] == [False, True, False]
    (folder / "experiment.yaml").write_text("train: {optim: {monitor_name: train_loss}}\n", encoding="utf-8")
    assert [entry["best"] for entry in result(run_dir)["checkpoints"]] == [False, True, False]
    (folder / "experiment.yaml").write_text("train: {optim: {monitor_name: val_miou}}\n", encoding="utf-8")
    assert not any(entry["best"] for entry in result(run_dir)["checkpoints"])


@pytest.mark.parametrize("text", ["", "[", "train: 3", "!!python/object:os.system {}", "train: {optim: null}"])
def test_a_spec_file_that_can_not_be_read_costs_nothing_but_the_name_of_the_monitor(run_dir: Path, text: str) -> None:
    (trained(run_dir) / "experiment.yaml").write_text(text, encoding="utf-8")
    assert [entry["best"] for entry in result(run_dir)["checkpoints"]] == [False, True, False]


def test_an_interrupted_run_that_exits_with_0_is_cancelled(run_dir: Path) -> None:
    folder = run_dir / "results" / "train"
    epochs(folder, [0.5])
    checkpoint(folder / "model_epoch_000_step_00010.pth")
    status(folder, "User/System interruption: Train was interrupted")
    found = result(run_dir)
    assert (found["status"], found["error"]["code"]) == ("cancelled", "E_CANCELLED")
    assert len(found["checkpoints"]) == 1


def test_exit_code_0_before_the_status_reached_its_end_is_cancelled(run_dir: Path) -> None:
    folder = run_dir / "results" / "train"
    epochs(folder, [0.5])
    checkpoint(folder / "model_epoch_000_step_00010.pth")
    assert result(run_dir)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"stopped": True}, "cancelled"),
        ({"stopped": True, "exit_code": 137}, "cancelled"),
        ({"exit_code": 143}, "cancelled"),
        ({"exit_code": 1}, "failed"),
        ({"exit_code": 137}, "failed"),
        ({"started": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "failed"),
    ],
)
def test_no_log_line_makes_a_run_succeed(run_dir: Path, changes: dict[str, Any], state: str) -> None:
    trained(run_dir)
    found = result(run_dir, last_log_lines=["Train finished successfully.", VERDICT], **changes)
    assert found["status"] == state and found["error"]["message"]


def test_a_status_that_says_failure_beats_exit_code_0(run_dir: Path) -> None:
    folder = trained(run_dir)
    status(folder, "Parameter validation error: odd value")
    found = result(run_dir)
    assert (found["status"], found["error"]["code"]) == ("failed", "E_TAO_FAILED")
    assert "odd value" in found["error"]["message"]


def test_what_an_earlier_run_left_is_no_proof(run_dir: Path) -> None:
    folder = trained(run_dir)
    for path in folder.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    found = result(run_dir)
    assert (found["status"], found["error"]["code"]) == ("failed", "E_TAO_NO_OUTPUT")
    assert [bool(entry["metrics"]) for entry in found["checkpoints"]] == [True, True, True]


@pytest.mark.parametrize("started", ["", "yesterday", "0001-01-01T00:00:00Z"])
def test_a_container_that_never_started_proves_nothing(run_dir: Path, started: str) -> None:
    trained(run_dir)
    assert result(run_dir, started=started)["status"] == "failed"


def test_the_times_of_an_engine_are_read_to_the_nanosecond(run_dir: Path) -> None:
    trained(run_dir)
    found = result(run_dir, started=f"{STARTED:%Y-%m-%dT%H:%M:%S}.123456789Z")
    assert found["status"] == "succeeded"


def test_how_an_earlier_run_ended_says_nothing_of_this_one(run_dir: Path) -> None:
    folder = run_dir / "results" / "train"
    path = status(folder, "Starting Visual ChangeNet train.", "User/System interruption: Train was interrupted")
    os.utime(path, (LONG_AGO, LONG_AGO))
    found = result(run_dir, exit_code=1, last_log_lines=["KeyError: 'label'"])
    assert (found["status"], found["error"]["code"]) == ("failed", "E_TAO_CSV_COLUMN")


@pytest.mark.parametrize("damage", ["empty", "half", "text"])
def test_a_training_whose_only_checkpoint_is_damaged_failed(run_dir: Path, damage: str) -> None:
    folder = trained(run_dir, [0.5])
    path = folder / "model_epoch_000_step_00010.pth"
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "text": b"weights"}[damage])
    found = result(run_dir)
    assert (found["status"], found["checkpoints"]) == ("failed", [])


def test_a_run_that_left_nothing_is_told_by_its_log(run_dir: Path) -> None:
    line = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    found = result_from(
        run_dir / "no such folder",
        run_dir,
        action="segment_train",
        task="segment",
        exit_code=1,
        started=STARTED.isoformat(),
        finished=datetime.now(UTC).isoformat(),
        seconds=3.0,
        last_log_lines=[line, "Execution status: FAIL"],
        stopped=False,
    )
    assert (found["status"], found["action"], found["checkpoints"], found["artifacts"]) == ("failed", "train", [], [])
    assert found["error"]["code"] == "E_RUN_MEMORY" and "dataset.segment.batch_size" in found["error"]["fix"]


def acted(run_dir: Path, action: str, mode: str, kpi: Mapping[str, float] | None = None) -> Path:
    folder = run_dir / "results" / action
    folder.mkdir(parents=True)
    status(folder, f"Starting Visual ChangeNet {action}.")
    if kpi:
        status(folder, "Test metrics generated.", kpi=kpi)
    status(folder, f"{mode} finished successfully.", kpi=kpi)
    return folder


def test_an_evaluation_needs_its_numbers(run_dir: Path) -> None:
    folder = acted(run_dir, "evaluate", "Evaluate")
    assert result(run_dir, "evaluate")["status"] == "failed"
    (folder / "status.json").unlink()
    folder.rmdir()
    kpi = {"test_acc": 90.0, "test_fpr": 5.0, "test_fnr": 5.0, "defect_acc": 80.0}
    acted(run_dir, "evaluate", "Evaluate", kpi)
    found = result(run_dir, "evaluate")
    assert (found["status"], found["metrics"]) == ("succeeded", kpi)


def test_an_inference_needs_its_table_or_its_pictures(run_dir: Path) -> None:
    folder = acted(run_dir, "inference", "Inference")
    assert result(run_dir, "inference")["status"] == "failed"
    (folder / "inference.csv").write_text("", encoding="utf-8")
    assert result(run_dir, "inference")["status"] == "failed"
    (folder / "inference.csv").write_text("object_name,siamese_score\n", encoding="utf-8")
    found = result(run_dir, "inference")
    assert found["status"] == "succeeded"
    assert {"path": "results/inference/inference.csv", "kind": "table"} in found["artifacts"]
    assert result(run_dir, "segment_inference", task="segment")["status"] == "failed"
    (folder / "combined_visualisation").mkdir()
    (folder / "bo ard.png.jpg").write_bytes(b"jpg")
    found = result(run_dir, "segment_inference", task="segment")
    assert found["status"] == "succeeded"
    assert {(item["path"].rpartition("/")[2], item["kind"]) for item in found["artifacts"]} >= {
        ("combined_visualisation", "pictures"),
        ("bo ard.png.jpg", "mask"),
    }


def test_an_export_may_lie_elsewhere(run_dir: Path) -> None:
    acted(run_dir, "export", "Export")
    elsewhere = run_dir / "models" / "mein modell.onnx"
    assert result(run_dir, "export", outputs=[elsewhere])["status"] == "failed"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"onnx")
    found = result(run_dir, "export", outputs=[elsewhere])
    assert found["status"] == "succeeded"
    assert {"path": "models/mein modell.onnx", "kind": "onnx"} in found["artifacts"]


def test_links_that_lead_out_of_the_folder_are_not_listed(run_dir: Path) -> None:
    folder = trained(run_dir, [0.5])
    secret = checkpoint(run_dir / "secret_epoch_007.pth")
    (folder / "model_epoch_009_step_00099.pth").symlink_to(secret)
    (folder / "labels.txt").symlink_to(secret)
    (folder / "model_epoch_008_step_00088.pth").symlink_to(folder / "gone.pth")
    found = result(run_dir)
    assert [entry["epoch"] for entry in found["checkpoints"]] == [0]
    assert not any("secret" in item["path"] for item in found["artifacts"])


# Checkpoint names.


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("model_epoch_000_step_00012.pth", (0, 12)),
        ("model-epoch=3-step=12.ckpt", (3, 12)),
        ("epoch=9-step=120.ckpt", (9, 120)),
        ("/runs/epoch_500_run/model_epoch_003.pth", (3, None)),
        ("Model_Epoch-7.PTH", (7, None)),
        ("ep012.pt", (12, None)),
        ("model_iter_40.pth", (None, 40)),
        ("changenet_model_classify_latest.pth", (None, None)),
        ("footstep_5_deep9.pth", (None, None)),
    ],
)
def test_numbers_are_read_from_the_file_name_alone(name: str, numbers: tuple[int | None, int | None]) -> None:
    assert checkpoint_numbers(name) == numbers


def test_checkpoints_are_ordered_by_number_not_by_text_or_time(hostile_dir: Path) -> None:
    folder = hostile_dir / "best latest run"
    folder.mkdir()
    for name in ("model_epoch_10_step_9.pth", "model_epoch_9_step_100.pth", "model_epoch_9_step_20.pth"):
        checkpoint(folder / name)
    (folder / "x_latest.pth").symlink_to("model_epoch_10_step_9.pth")
    (folder / "model_epoch_011_step_00001.txt").write_text("no", encoding="utf-8")
    (folder / "model_epoch_012_step_00001.pth").mkdir()
    assert [entry.path.name for entry in checkpoints_in(folder)] == [
        "model_epoch_9_step_20.pth",
        "model_epoch_9_step_100.pth",
        "model_epoch_10_step_9.pth",
    ]


def test_a_copy_of_the_latest_counts_only_where_nothing_else_is_there(tmp_path: Path) -> None:
    checkpoint(tmp_path / "changenet_model_segment_latest.pth")
    assert [(entry.epoch, entry.step) for entry in checkpoints_in(tmp_path)] == [(None, None)]
    checkpoint(tmp_path / "model_epoch_000_step_00001.pth")
    assert [(entry.epoch, entry.step) for entry in checkpoints_in(tmp_path)] == [(0, 1)]
    assert checkpoints_in(tmp_path / "absent") == []


def test_real_torch_files_of_both_formats_are_whole_and_cut_ones_are_not(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    new, old = tmp_path / "new.pth", tmp_path / "old.pth"
    torch.save({"state_dict": {"a": torch.zeros(100)}}, new)
    torch.save({"state_dict": {"a": torch.zeros(100)}}, old, _use_new_zipfile_serialization=False)
    assert whole(new) and whole(old)
    new.write_bytes(new.read_bytes()[:-10])
    assert not whole(new)


# Failure texts.


@pytest.mark.parametrize(
    ("lines", "code", "word"),
    [
        (
            ["RuntimeError: DataLoader worker (pid 71) is killed by signal: Bus error."],
            "E_RUN_SHARED_MEMORY",
            "workers",
        ),
        (["RuntimeError: DataLoader worker (pid(s) 71) exited unexpectedly"], "E_RUN_LOADER", "workers"),
        (["torch.cuda.OutOfMemoryError: CUDA out of memory."], "E_RUN_MEMORY", "batch_size"),
        (
            ["FileNotFoundError: No such file or directory: 'https:/hub.example/model.safetensors'"],
            "E_TAO_BACKBONE_URL",
            "pretrained_backbone_path",
        ),
        (["FileNotFoundError: /data/list/predict.txt not found."], "E_TAO_LIST_MISSING", "predict_split"),
        (
            ["FileNotFoundError: [Errno 2] No such file or directory: '/data/a b.csv'"],
            "E_TAO_FILE_MISSING",
            "--dry-run",
        ),
        (["File system error: Image file wasn't found at /x/y.jpg"], "E_TAO_FILE_MISSING", "data check"),
        (
            ["ValueError: Dataset size (5) is smaller than the total batch size (16). Not enough data for train."],
            "E_TAO_DATASET_SMALL",
            "dataset.classify.batch_size=5",
        ),
        (
            ["ValueError: num_samples should be a positive integer value, but got num_samples=0"],
            "E_TAO_NO_SAMPLES",
            "ext",
        ),
        (["TypeError: unsupported operand type(s) for /: 'NoneType' and 'float'"], "E_TAO_NO_SAMPLES", "image_ext"),
        (["AssertionError: Contrastive loss only supports Euclidean distance module"], "E_TAO_LOSS", "--parent"),
        (
            [
                "RuntimeError: Error(s) in loading state_dict for ChangeNetPlModel:",
                "\tsize mismatch for model.backbone.proj.weight: copying a param with shape torch.Size([1024, 1024])",
            ],
            "E_TAO_CHECKPOINT_MISMATCH",
            "--parent",
        ),
        (
            [
                "MisconfigurationException: You restored a checkpoint with current_epoch=10, but you have set "
                "Trainer(max_epochs=5)."
            ],
            "E_TAO_EPOCHS",
            "train.num_epochs",
        ),
        (["KeyError: 'golden_path'"], "E_TAO_CSV_COLUMN", "golden_path"),
        (
            ["omegaconf.errors.ConfigKeyError: Key 'num_golden' not in 'CNDatasetClassifyConfig'"],
            "E_TAO_KEY",
            "num_golden",
        ),
        (["RuntimeError: shape '[2, 192, 7, 7]' is invalid for input of size 98304"], "E_TAO_IMAGE_SIZE", "224"),
        (["AssertionError: Default onnx file /r/m.onnx already exists"], "E_TAO_ONNX_EXISTS", "export.onnx_file"),
        (["OSError: [Errno 28] No space left on device"], "E_RUN_DISK", "room"),
        (["ZeroDivisionError: integer division or modulo by zero"], "E_TAO_DIVISION", "policy"),
        (["RuntimeError: No CUDA GPUs are available"], "E_TAO_NO_GPU", "doctor"),
    ],
)
def test_known_failures_come_with_a_fix(lines: list[str], code: str, word: str) -> None:
    told = explain(["Traceback (most recent call last):", *lines, "", "Execution status: FAIL"], "classify")
    assert told is not None and told["code"] == code
    assert word in told["fix"] and "{" not in told["message"] + told["fix"]


def test_the_last_known_text_wins_over_an_earlier_one() -> None:
    lines = ["KeyError: 'label'", "retrying", "RuntimeError: CUDA out of memory"]
    told = explain(lines, "classify")
    assert told is not None and told["code"] == "E_RUN_MEMORY"


def test_an_unknown_exception_is_quoted_without_colours_and_progress_bars() -> None:
    lines = ["Epoch 3:  40%|####\r\x1b[31mmypkg.OddError: the moon is full\x1b[0m\n", "Execution status: FAIL"]
    told = explain(lines, "classify")
    assert told is not None and told["message"] == "mypkg.OddError: the moon is full"
    assert explain(["", "Execution status: FAIL", "Sending telemetry data."], "classify") is None

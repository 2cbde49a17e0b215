"""An interrupted training goes on exactly where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

LAST = "model_epoch_001_step_00008.pth"


def weights(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return found


def assert_equal(first: Path, second: Path) -> None:
    expected, found = weights(first), weights(second)
    assert expected.keys() == found.keys()
    worst = max(float((expected[name].float() - found[name].float()).abs().max()) for name in expected)
    assert worst <= 1e-6


def notices(folder: Path) -> list[str]:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return [event["message"] for event in events if event["event"] == "notice"]


@pytest.fixture(scope="module")
def by_step(tmp_path_factory: pytest.TempPathFactory, case: Any) -> Path:
    """A finished training of two epochs of four steps with a checkpoint after every third step."""
    folder = tmp_path_factory.mktemp("steps")
    spec = case.write_segment(folder, checkpoint_interval_unit="step", checkpoint_interval=3)
    done = case.run("train", spec)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["model_epoch_000_step_00003.pth", "model_epoch_001_step_00006.pth"])
def test_from_within_an_epoch(by_step: Path, case: Any, tmp_path: Path, name: str) -> None:
    start = f"train.resume_training_checkpoint_path={by_step / 'results' / 'train' / name}"
    done = case.run("train", by_step / "spec.yaml", start, f"results_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert_equal(by_step / "results" / "train" / LAST, tmp_path / "train" / LAST)


def test_from_the_end_of_an_epoch(trained_segment: Path, case: Any, tmp_path: Path) -> None:
    first = trained_segment / "results" / "train" / "model_epoch_000_step_00004.pth"
    start = f"train.resume_training_checkpoint_path={first}"
    done = case.run("train", trained_segment / "spec.yaml", start, f"results_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert_equal(trained_segment / "results" / "train" / LAST, tmp_path / "train" / LAST)


def test_a_killed_training_goes_on_by_itself_from_the_results_folder(
    trained_segment: Path, case: Any, tmp_path: Path
) -> None:
    spec = case.write_segment(tmp_path, num_epochs=2)
    folder = tmp_path / "results" / "train"
    with subprocess.Popen(case.command("train", spec)) as process:
        while process.poll() is None and not (folder / "changenet_model_segment_latest.pth").exists():
            os.sched_yield()
        process.send_signal(signal.SIGKILL)
    done = case.run("train", spec)
    assert done.returncode == 0, done.stderr
    assert any("goes on from" in text and "with epoch 2 of 2" in text for text in notices(folder))
    assert_equal(trained_segment / "results" / "train" / LAST, folder / LAST)
    found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert [entry["epoch"] for entry in found["checkpoints"]] == [0, 1]


def test_fewer_epochs_than_are_done_is_said_plainly(trained_segment: Path, case: Any, tmp_path: Path) -> None:
    start = f"train.resume_training_checkpoint_path={trained_segment / 'results' / 'train' / LAST}"
    done = case.run("train", trained_segment / "spec.yaml", start, f"results_dir={tmp_path}", "train.num_epochs=1")
    assert done.returncode == 2
    assert "has trained 2 epochs already, and train.num_epochs is 1" in done.stderr
    assert "set train.num_epochs above 2" in done.stderr


def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(
    trained_segment: Path, case: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    earlier = trained_segment / "results" / "train" / "model_epoch_000_step_00004.pth"
    (folder / earlier.name).write_bytes(earlier.read_bytes())
    (folder / LAST).write_bytes((trained_segment / "results" / "train" / LAST).read_bytes()[:5000])
    (folder / "changenet_model_segment_latest.pth").symlink_to(LAST)
    done = case.run("train", trained_segment / "spec.yaml", f"results_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert any(LAST in text and "passed over" in text for text in notices(folder))
    assert_equal(trained_segment / "results" / "train" / LAST, folder / LAST)


def test_a_second_training_does_not_write_into_the_folder_of_one_that_runs(case: Any, tmp_path: Path) -> None:
    spec = case.write_segment(tmp_path, num_epochs=10_000, checkpoint_interval=10_000, validation_interval=10_000)
    events = tmp_path / "results" / "train" / "events.jsonl"
    with subprocess.Popen(case.command("train", spec)) as process:
        while process.poll() is None and '"progress"' not in (events.read_text() if events.exists() else ""):
            os.sched_yield()
        second = case.run("train", spec)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 130
    assert second.returncode == 9
    assert second.stderr.startswith("error[E_RUN_BUSY]: another process still writes into ")
    assert case.result(tmp_path / "results" / "train")["status"] == "cancelled"

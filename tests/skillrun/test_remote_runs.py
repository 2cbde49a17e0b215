"""Runs whose data lie in a store and whose results go there, typed as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from skillrun.data.synth import synth
from skillrun.runfolder import find_run
from skillrun.watch import status

SMALL = ("backbone=fan_tiny_8_p4_hybrid", "dataset.classify.image_width=64", "dataset.classify.image_height=64")


def skillrun(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from skillrun.cli import main; main()", *words]
    return subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)


def complaint(done: subprocess.CompletedProcess[str], exit_code: int) -> dict[str, Any]:
    assert done.returncode == exit_code, done.stderr
    return dict(json.loads(done.stdout)["error"])


@pytest.fixture
def boards(s3: Any, workspace: Path) -> Any:
    """A store with a small data set of boards."""
    synth(workspace / "boards", pairs=12, size=32, seed=3)
    files = {
        path.relative_to(workspace / "boards").as_posix(): path.read_bytes()
        for path in (workspace / "boards").rglob("*")
        if path.is_file()
    }
    s3.fill("line", {f"set 1/{name}": data for name, data in files.items()})
    s3.fill("kept", {})
    return s3


def train(*words: str) -> subprocess.CompletedProcess[str]:
    data = ("--train-data", "s3://line/set 1/train", "--eval-data", "s3://line/set 1/eval")
    return skillrun("visual_changenet", "train", "--no-automl", *data, *SMALL, "num_epochs=1", "batch_size=4", *words)


def test_a_training_reads_from_a_store_and_its_results_go_there(boards: Any, workspace: Path) -> None:
    done = train("--results", "s3://kept/shift a")
    assert done.returncode == 0, done.stderr
    run = find_run("last", workspace)
    assert "files, " in done.stderr and f"s3://kept/shift a/{run.run_id}" in done.stderr
    there = boards.names("kept")
    assert f"shift a/{run.run_id}/result.json" in there
    assert any(name.endswith(".pth") for name in there)
    assert run.read_record()["uploaded"]["url"] == f"s3://kept/shift a/{run.run_id}"
    asked = len(boards.line.asked("GET"))
    again = train("--dry-run")
    assert again.returncode == 0, again.stderr
    assert len(boards.line.asked("GET")) - asked == 2, "one listing for each data set, no object again"
    assert len(list((workspace / "runs").iterdir())) == 1


def test_a_store_that_is_away_at_the_end_loses_nothing(boards: Any, workspace: Path) -> None:
    assert train("--results", "s3://kept/shift b", "--detach").returncode == 0
    run = find_run("last", workspace)
    while not status(run).done:
        time.sleep(0.2)
    boards.line.closed = True
    error = complaint(skillrun("runs", "attach", "last", "--json"), 8)
    assert error["code"] == "E_RESULTS_UPLOAD"
    assert status(run).state == "succeeded"
    assert error["fix"].endswith(f"skillrun runs upload {run.run_id} 's3://kept/shift b'"), error["fix"]
    boards.line.closed = False
    sent = skillrun("runs", "upload", "last", "--json")
    assert sent.returncode == 0, sent.stderr
    assert json.loads(sent.stdout)["uploaded"]["url"] == f"s3://kept/shift b/{run.run_id}"
    asked = len(boards.line.requests)
    assert skillrun("runs", "attach", "last").returncode == 0
    assert len(boards.line.requests) == asked, "what has arrived is not sent again"


def test_a_target_that_takes_nothing_is_found_before_the_start(boards: Any, workspace: Path) -> None:
    error = complaint(train("--results", "s3://no-such-bucket/x", "--json"), 5)
    assert error["code"] == "E_REMOTE_NOT_FOUND"
    assert not (workspace / "runs").exists()


def test_credentials_in_the_address_of_results_are_refused_and_not_repeated(boards: Any, workspace: Path) -> None:
    done = train("--results", "s3://someone:canary@kept/x", "--json")
    assert complaint(done, 2)["code"] == "E_REMOTE_URL"
    assert "canary" not in done.stdout + done.stderr
    assert not (workspace / "runs").exists()


def test_offline_takes_the_data_that_is_here_and_refuses_the_rest(boards: Any, workspace: Path) -> None:
    error = complaint(train("--offline", "--json"), 5)
    assert error["code"] == "E_REMOTE_OFFLINE"
    assert train("--dry-run").returncode == 0
    asked = len(boards.line.requests)
    assert train("--offline", "--dry-run").returncode == 0
    assert len(boards.line.requests) == asked
    assert complaint(train("--offline", "--results", "s3://kept/x", "--json"), 2)["code"] == "E_RESULTS_OFFLINE"


def test_a_key_of_the_spec_may_name_an_address(boards: Any, workspace: Path) -> None:
    done = skillrun(
        *("visual_changenet", "train", "--no-automl", "--dry-run", "--json", *SMALL),
        *("--eval-data", "s3://line/set 1/eval"),
        "dataset.classify.train_dataset.csv_path=s3://line/set 1/train/dataset.csv",
        "dataset.classify.train_dataset.images_dir=s3://line/set 1/train/images",
    )
    assert done.returncode == 0, done.stderr
    read = [mount["source"] for mount in json.loads(done.stdout)["plan"]["mounts"] if mount["read_only"]]
    assert len(read) == 4
    assert all(path.startswith(str(workspace / "cache")) for path in read)

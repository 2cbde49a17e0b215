"""A search with real trainings: killed on the way, driven on to its end, and what it leaves."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from skillrun.automl.design import design
from skillrun.automl.journal import open_journal
from skillrun.automl.result import StudyResult
from skillrun.automl.search import create, drive, run_search
from skillrun.automl.settings import SearchOptions
from skillrun.automl.study import StudyFolder
from skillrun.cli.automl import app, search
from skillrun.cli.output import Output
from skillrun.data.synth import synth
from skillrun.datasets import DataSources
from skillrun.errors import InterruptedRunError, RunFailedError
from skillrun.hostoptions import HostOptions
from skillrun.prepare import Request, prepare
from skillrun.runfolder import list_runs
from skillrun.watch import status

pytest.importorskip("optuna")

FORK = multiprocessing.get_context("fork")
TINY = (
    "model.backbone.type=fan_tiny_8_p4_hybrid",
    "model.decode_head.decoder_params.embed_dim=16",
    "dataset.classify.image_width=64",
    "dataset.classify.image_height=64",
    "dataset.classify.workers=0",
    "batch_size=4",
    "train.threads=1",
    "train.tensorboard.enabled=false",
)


class Heard:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def tiny_request(workspace: Path, *more: str) -> Request:
    if not (workspace / "my boards").exists():
        synth(workspace / "my boards", pairs=12, size=64, seed=5)
    sources = DataSources(str(workspace / "my boards/train"), str(workspace / "my boards/eval"))
    host = HostOptions(gpus="none")
    return Request(
        "visual_changenet", "train", overrides=(*TINY, *more), sources=sources, host=host, workspace=workspace
    )


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def drive_quietly(folder: StudyFolder) -> None:
    drive(folder, Heard())


def sent_away(folder: StudyFolder) -> None:
    """Kill the driver when its first trial trains, and then that trial."""
    driver = FORK.Process(target=drive_quietly, args=(folder,))
    driver.start()
    wait_until(lambda: any(status(run).state == "running" for run in list_runs(folder.path)))
    driver.kill()
    driver.join()
    (run,) = list_runs(folder.path)
    handle = run.read_record()["handle"]["pid"]
    children = Path(f"/proc/{handle}/task/{handle}/children").read_text(encoding="utf-8").split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    wait_until(lambda: status(run).done)


def test_a_search_that_was_killed_ends_with_one_proven_best_checkpoint(workspace: Path) -> None:
    request = tiny_request(workspace, "num_epochs=1")
    synth(workspace / "other boards", pairs=8, size=64, seed=9)
    options = SearchOptions(trials=2, seed=1, test_data=str(workspace / "other boards/eval"))
    folder = create(design(request, options))
    sent_away(folder)
    heard = Heard()
    result = drive(folder, heard)

    assert any("goes on from its last checkpoint" in line for line in heard.lines)
    assert [(row.number, row.state) for row in result.rows] == [(0, "complete"), (1, "complete")]
    assert result.rows[0].values == folder.settings().space.defaults()
    trained = [run for run in list_runs(folder.path) if status(run).action == "train"]
    assert sorted(run.read_record()["trial"] for run in trained if "trial" in run.read_record()) == [0, 1]
    assert {run.run_id for run in trained} == {row.run_id for row in result.rows}
    check_what_is_left(folder, result)
    check_commands(folder, result, workspace)


def check_what_is_left(folder: StudyFolder, result: StudyResult) -> None:
    assert hashlib.sha256(result.winner.path.read_bytes()).hexdigest() == result.winner.sha256
    assert list(folder.path.rglob("model_epoch_*.pth")) == [result.winner.path]
    assert not folder.cache.exists()
    told = json.loads(folder.result.read_text(encoding="utf-8"))
    assert told["best"]["sha256"] == result.winner.sha256
    assert told["held_out"] is True
    assert set(told["evaluations"]) == {"trial 0", "best"}
    assert all(0 <= one["metrics"][told["compared_by"]] <= 1 for one in told["evaluations"].values())
    with folder.table.open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 2
    assert result.best.run_id in folder.page.read_text(encoding="utf-8")
    assert len(open_journal(folder.journal).get_all_studies()) == 1


def check_commands(folder: StudyFolder, result: StudyResult, workspace: Path) -> None:
    def answer(*words: str) -> dict:  # type: ignore[type-arg]
        told = CliRunner().invoke(app, [*words, "--workspace", str(workspace), "--json"])
        assert told.exit_code == 0, (told.output, told.exception)
        return json.loads(told.stdout)  # type: ignore[no-any-return]

    assert [one["state"] for one in answer("list")["studies"]] == ["ended"]
    assert answer("status", "last")["best"]["run_id"] == result.best.run_id
    assert answer("best", folder.study_id)["sha256"] == result.winner.sha256
    copied = answer("export", folder.study_id[:6], "--out", str(workspace / "taken along"))["files"]
    assert hashlib.sha256(Path(copied[0]).read_bytes()).hexdigest() == result.winner.sha256
    plan = prepare(Request("visual_changenet", "evaluate", parent=folder.study_id, workspace=workspace)).plan
    assert plan.parent is not None
    assert plan.parent["checkpoint"] == str(result.winner.path)


def test_a_study_whose_every_training_fails_ends_with_exit_9_and_the_reason(workspace: Path) -> None:
    request = tiny_request(workspace, "num_epochs=1")
    options = SearchOptions(trials=20, seed=1, jobs=2, algorithm="random", metric="val_nonsense")
    with pytest.raises(RunFailedError) as caught:
        run_search(request, options, Heard())
    assert (caught.value.exit_code, caught.value.code) == (9, "E_AUTOML_ALL_FAILED")
    assert "val_nonsense" in caught.value.message
    (study,) = (workspace / "studies").iterdir()
    assert 3 <= len(list(list_runs(study))) <= 5


def test_a_dry_run_shows_the_review_and_writes_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = tiny_request(workspace)
    before = set(workspace.rglob("*"))
    search(request, SearchOptions(trials=2), Output(True), dry_run=True, yes=False, detached=False)
    told = json.loads(capsys.readouterr().out)
    assert any(line.startswith("budget      2 trials") for line in told["review"])
    assert told["study"]["budget"] == {"trials": 2, "epochs": 0, "seconds": 0.0}
    assert set(workspace.rglob("*")) == before


def test_the_end_of_the_time_stops_a_long_training_with_a_checkpoint(workspace: Path) -> None:
    request = tiny_request(workspace, "num_epochs=500")
    with pytest.raises((RunFailedError, InterruptedRunError)):
        run_search(request, SearchOptions(time="1s", seed=1), Heard())
    (run,) = list_runs(next((workspace / "studies").iterdir()))
    assert status(run).state == "cancelled"


def test_train_searches_when_nobody_says_otherwise(skillrun: Any, workspace: Path) -> None:
    synth(workspace / "my boards", pairs=12, size=64, seed=5)
    data = ("--train-data", "my boards/train", "--eval-data", "my boards/eval")
    search = ("--trials", "2", "--search-only", "--search", "train.optim.lr=1e-5..1e-3:log", "--gpus", "none")
    done = skillrun("visual_changenet", "train", *data, *TINY, "num_epochs=1", *search, "--json")
    assert done.returncode == 0, done.stderr
    study = json.loads(done.stdout)["study"]
    assert "model.classify.eval_margin" not in done.stderr, "it is not searched, and nobody froze it"
    assert len(list((workspace / "studies" / study["study_id"] / "runs").iterdir())) >= 2
    assert not (workspace / "runs").exists()
    again = skillrun("visual_changenet", "evaluate", "--parent", study["study_id"], "--json")
    assert again.returncode == 0, again.stderr
    plain = skillrun("visual_changenet", "train", *data, *TINY, "--request", "no HPO please", "--dry-run", "--json")
    assert json.loads(plain.stdout)["plan"]["automl"]["state"] == "off"

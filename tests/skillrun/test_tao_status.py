"""Status files of NVIDIA's container as events."""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from skillrun.tao.status import read_status, summarise


class PublishedLog:
    """Writes lines as the published container does: ``kpi`` sticks to every later line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kpi: dict[str, Any] = {}
        self.second = 0

    def write(self, message: str, status: str = "RUNNING", kpi: dict[str, Any] | None = None, **data: Any) -> None:
        self.kpi = self.kpi if kpi is None else kpi
        self.second += 1
        record = {**data, "date": "3/7/2026", "time": f"4:5:{self.second % 60}", "status": status}
        record |= {"verbosity": "INFO", "message": message} | ({"kpi": self.kpi} if self.kpi else {})
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    def start(self, action: str = "train") -> None:
        self.kpi = {}
        self.write(f"Starting Visual ChangeNet {action}.", "STARTED")
        if action == "train":
            self.write("Starting Training Loop.", "STARTED")

    def epoch(self, number: int, epochs: int, train: dict[str, Any], val: dict[str, Any] | None = None) -> None:
        """``number`` counts from 0; 10 steps each."""
        if val is not None:
            self.write("Eval metrics generated.", kpi=val)
        self.write(
            "Training loop in progress",
            epoch=number,
            step=10 * (number + 1),
            max_epoch=epochs - 1,
            max_step=10 * epochs,
            time_per_epoch="0:00:02.500000",
            time_per_step="0:00:00.250000",
            eta=f"0:00:{5 - 2 * number:02d}",
        )
        self.write("Train metrics generated.", kpi=train)

    def finish(self, mode: str = "Train") -> None:
        if mode == "Train":
            self.write("Training loop complete.")
        self.write(f"{mode} finished successfully.")


@pytest.fixture
def log(hostile_dir: Path) -> PublishedLog:
    return PublishedLog(hostile_dir / "status.json")


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


def test_a_training_becomes_a_start_and_one_epoch_event_per_epoch(log: PublishedLog) -> None:
    log.start()
    log.epoch(0, 2, {"train_loss": 0.5, "train_acc": 70.0}, {"val_loss": 0.4})
    log.epoch(1, 2, {"train_loss": 0.3, "train_acc": 80.0}, {"val_loss": 0.2})
    log.finish()
    events, offset = read_status(log.path)
    assert kinds(events) == ["start", "progress", "epoch", "progress", "epoch"]
    assert offset == log.path.stat().st_size
    assert events[0] == {"time": "2026-03-07T04:05:01.000+00:00", "event": "start", "action": "train", "device": "gpu"}
    assert events[1] == {
        "time": events[1]["time"],
        "event": "progress",
        "phase": "train",
        "epoch": 1,
        "num_epochs": 2,
        "step": 10,
        "steps": 10,
        "loss": 0.5,
        "pairs_per_s": None,
        "eta_s": 5.0,
    }
    metrics = {"val_loss": 0.2, "train_loss": 0.3, "train_acc": 80.0}
    assert events[4] == {
        "time": events[4]["time"],
        "event": "epoch",
        "epoch": 2,
        "metrics": metrics,
        "lr": None,
        "seconds": 2.5,
    }


def test_numbers_that_stick_are_not_taken_for_those_of_an_epoch_without_validation(log: PublishedLog) -> None:
    log.start()
    log.epoch(0, 2, {"train_loss": 0.5}, {"val_loss": 0.4})
    log.epoch(1, 2, {"train_loss": 0.3})
    epochs = [event["metrics"] for event in read_status(log.path)[0] if event["event"] == "epoch"]
    assert epochs == [{"val_loss": 0.4, "train_loss": 0.5}, {"train_loss": 0.3}]


def test_masks_have_their_own_names(log: PublishedLog) -> None:
    log.start()
    val = {"val_loss": 0.1, "val_acc": 0.9, "val_miou": 0.8, "val_mf1": 0.85}
    log.epoch(0, 1, {"train_loss": 0.2}, val)
    assert read_status(log.path)[0][-1]["metrics"] == {**val, "train_loss": 0.2}


def test_any_way_of_reading_in_pieces_gives_the_same_events(log: PublishedLog) -> None:
    log.start()
    for number in range(3):
        log.epoch(number, 3, {"train_loss": 1.0 / (number + 1)}, {"val_loss": 0.1 * number} if number != 1 else None)
    log.finish()
    whole = log.path.read_bytes()
    expected = read_status(log.path)[0]
    for piece in (1, 7, 64, 200, 333):
        events, offset = [], 0
        for end in range(0, len(whole) + piece, piece):
            log.path.write_bytes(whole[:end])
            more, offset = read_status(log.path, offset)
            events += more
        assert events == expected, piece
        assert offset == len(whole)


def test_lines_of_an_epoch_wait_for_each_other_and_are_given_out_when_the_container_is_gone(log: PublishedLog) -> None:
    log.start()
    before = log.path.stat().st_size
    log.write("Eval metrics generated.", kpi={"val_loss": 0.4})
    log.write("Training loop in progress", epoch=0, step=3, max_epoch=4, max_step=15, time_per_epoch="1 day, 0:00:01")
    events, offset = read_status(log.path)
    assert kinds(events) == ["start"] and offset == before
    events, offset = read_status(log.path, offset, ended=True)
    assert kinds(events) == ["progress", "epoch"] and offset == log.path.stat().st_size
    assert events[1]["metrics"] == {"val_loss": 0.4} and events[1]["seconds"] == 86401.0


def test_a_half_line_waits_and_garbage_is_passed_over(log: PublishedLog) -> None:
    log.start()
    with log.path.open("ab") as stream:
        stream.write(b"\xff\xfe\x00 no json\n[1, 2]\n" + b"[" * 100_000 + b"\nnull\n\n")
    log.epoch(0, 1, {"train_loss": 0.5})
    with log.path.open("ab") as stream:
        stream.write(b'{"status": "FAILURE", "message": "File sys')
    events, offset = read_status(log.path)
    assert kinds(events) == ["start", "progress", "epoch"]
    with log.path.open("ab") as stream:
        stream.write(b'tem error: gone"}\n')
    events, _ = read_status(log.path, offset)
    assert [(event["event"], event["message"]) for event in events] == [("notice", "File system error: gone")]
    assert events[0]["time"]


def test_a_number_that_is_none_is_left_out_and_said(log: PublishedLog) -> None:
    log.start()
    log.epoch(0, 1, {"train_loss": float("nan"), "train_acc": 50.0, "odd": "text"}, {"val_loss": float("inf")})
    events = read_status(log.path)[0]
    said = [event["message"] for event in events if event["event"] == "notice"]
    assert said == ["train_loss of epoch 1 is not a number", "val_loss of epoch 1 is not a number"]
    assert events[-1]["metrics"] == {"train_acc": 50.0}
    json.dumps(events, allow_nan=False)


def test_a_failure_is_a_notice_and_never_an_end(log: PublishedLog) -> None:
    log.start()
    log.write("User/System interruption: Train was interrupted", "FAILURE")
    log.finish()
    events = read_status(log.path)[0]
    assert kinds(events) == ["start", "notice"]


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "shorter"])
def test_a_file_that_starts_anew_is_read_from_its_start(log: PublishedLog, replaced: bool) -> None:
    log.start()
    log.epoch(0, 9, {"train_loss": 0.5})
    _, offset = read_status(log.path)
    log.path.unlink()
    log.start("evaluate")
    if replaced:
        log.write("x" * offset)
    assert kinds(read_status(log.path, offset)[0]) == ["start"]


def test_a_run_that_goes_on_in_the_same_folder_says_so_and_counts_on(log: PublishedLog) -> None:
    log.start()
    log.epoch(0, 3, {"train_loss": 0.5})
    log.start()
    log.write("Resuming training from checkpoint: /results/train/model_epoch_000_step_00010.pth")
    log.epoch(1, 3, {"train_loss": 0.4})
    events = read_status(log.path)[0]
    assert kinds(events) == ["start", "progress", "epoch", "start", "notice", "progress", "epoch"]
    assert summarise(log.path).epochs == {0: {"train_loss": 0.5}, 1: {"train_loss": 0.4}}


def test_releases_that_count_from_one_are_read_too(log: PublishedLog) -> None:
    log.start()
    log.write("Training loop in progress", epoch=1, max_epoch=2, time_per_epoch="0:00:02", eta="0:00:02")
    log.write("Train metrics generated.", kpi={"train_loss": 0.5})
    events = read_status(log.path)[0]
    assert (events[-1]["epoch"], events[1]["num_epochs"], events[1]["steps"]) == (1, 2, None)


def test_times_are_of_the_containers_zone(log: PublishedLog) -> None:
    log.start()
    zone = timezone(timedelta(hours=9))
    assert read_status(log.path, zone=zone)[0][0]["time"] == "2026-03-06T19:05:01.000+00:00"


def test_an_absent_file_is_an_empty_one(hostile_dir: Path) -> None:
    assert read_status(hostile_dir / "status.json", 17) == ([], 0)
    assert summarise(hostile_dir / "status.json").outcome == "open"


@pytest.mark.parametrize(
    ("last", "status", "outcome"),
    [
        ("Train finished successfully.", "RUNNING", "finished"),
        ("Export finished successfully", "SUCCESS", "finished"),
        ("User/System interruption: Train was interrupted", "FAILURE", "interrupted"),
        ("Train was interrupted", "FAILURE", "interrupted"),
        ("Parameter validation error: no", "FAILURE", "failed"),
        ("Training loop complete.", "RUNNING", "open"),
    ],
)
def test_the_summary_tells_how_the_last_run_ended(log: PublishedLog, last: str, status: str, outcome: str) -> None:
    log.start()
    log.finish()
    log.start("evaluate")
    log.write("Test metrics generated.", kpi={"test_acc": 66.7})
    log.write(last, status)
    summary = summarise(log.path)
    assert (summary.outcome, summary.tested) == (outcome, {"test_acc": 66.7})

"""The view of a run that goes on: on a terminal of any width and kind, and without one."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from skillrun.backends.conformance import BackendConformance, finish
from skillrun.cli import progress
from skillrun.cli.output import Output
from skillrun.cli.progress import RunProgress, Standing
from skillrun.runfolder import RunFolder

Captured = pytest.CaptureFixture[str]
SKILLRUN = Path(sys.executable).with_name("skillrun")
STEP = {
    "event": "progress",
    "phase": "train",
    "epoch": 2,
    "num_epochs": 4,
    "step": 30,
    "steps": 120,
    "loss": 0.125,
    "pairs_per_s": 81.4,
    "eta_s": 3725.0,
    "memory_mb": 1536.0,
    "gpu_memory_mb": 20480.0,
}
EPOCH = {
    "event": "epoch",
    "epoch": 2,
    "metrics": {"train_loss": 0.2, "val_loss": 0.3, "val_ap": 0.91},
    "best": {"name": "val_ap", "value": 0.95, "epoch": 1},
    "lr": 0.001,
    "seconds": 12.0,
}
# Events that wait for the test: each next one comes when a file of its number is there.
PROGRAM = """
def after(name):
    while not (run / name).exists():
        time.sleep(0.01)
for number, values in enumerate(json.loads({events!r})):
    after(f"go{{number}}")
    event(**values)
after("end")
result("succeeded")
"""


class Local(BackendConformance):
    name = "local"

    def plan_values(self, run: RunFolder, program: str) -> dict[str, Any]:
        return {"argv": (sys.executable, "-c", program), "env": {"SKILLRUN_RUN_DIR": str(run.path)}}


def scripted(folder: Path, events: list[dict[str, Any]]) -> RunFolder:
    run = Local().start(folder, PROGRAM.format(events=json.dumps(events)))
    run.spec.write_text("dataset: {classify: {validation_dataset: {csv_path: /eval/dataset.csv}}}\n", encoding="utf-8")
    return run


class Terminal:
    """What a terminal of so many columns shows of what a program writes to it: text, wrapped, with the cursor moved."""

    _PART = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[^\[]|[\r\n]|[^\x1b\r\n]")

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.raw = b""

    @property
    def lines(self) -> list[str]:
        rows: list[list[str]] = [[]]
        row = column = 0
        for part in self._PART.finditer(self.raw.decode("utf-8", errors="ignore")):
            text, number, kind = part[0], part[1], part[2]
            if kind == "A":
                row = max(row - int(number or 1), 0)
            elif kind == "K":
                rows[row] = []
            elif kind or text.startswith("\x1b"):
                continue
            elif text == "\r":
                column = 0
            elif text == "\n" or column >= self.columns:
                row, column = row + 1, 0
            if kind or text in "\r\n":
                rows += [[] for _ in range(row + 1 - len(rows))]
                continue
            rows += [[] for _ in range(row + 1 - len(rows))]
            rows[row] += " " * (column + 1 - len(rows[row]))
            rows[row][column] = text
            column += 1
        return ["".join(line).rstrip() for line in rows]

    @property
    def text(self) -> str:
        """All rows in one line, so that wrapped words are found."""
        return " ".join(" ".join(self.lines).split())


@contextmanager
def attached(run: RunFolder, columns: int, **variables: str) -> Iterator[tuple[Terminal, subprocess.Popen[bytes], int]]:
    """``runs attach`` on a terminal of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM")}
    process = subprocess.Popen(
        [str(SKILLRUN), "runs", "attach", str(run.path)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", **variables},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(columns), process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: Terminal, source: int, words: str) -> None:
    """Feed the terminal until it shows the words, or the program closes it (then they must be there)."""
    deadline = time.monotonic() + 60
    while words not in terminal.text:
        assert time.monotonic() < deadline, terminal.lines
        if not select.select([source], [], [], 1)[0]:
            continue
        try:
            data = os.read(source, 65536)
        except OSError:
            data = b""
        assert data or words in terminal.text, terminal.lines
        terminal.raw += data


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminal_shows_bars_and_numbers_and_clears_them_at_the_end(hostile_dir: Path, columns: int) -> None:
    run = scripted(hostile_dir, [STEP, EPOCH, {**STEP, "epoch": 3, "loss": None, "phase": "validate"}])
    with attached(run, columns) as (terminal, process, source):
        read_until(terminal, source, "starting")
        (run.path / "go0").touch()
        read_until(terminal, source, "1:02:05 left in all")
        for words in ("epoch 2/4", "train 30/120", "loss 0.1250", "81 pairs/s", "memory 1.5 GB", "GPU 20.5 GB"):
            assert words in terminal.text
        assert any(line.startswith("epoch 2/4") and line.endswith("31%") for line in terminal.lines)
        (run.path / "go1").touch()
        (run.path / "go2").touch()
        read_until(terminal, source, "validate 30/120")
        assert "val_ap 0.91 best 0.95 (epoch 1)" in terminal.text
        assert "(12 s)" in terminal.text
        (run.path / "end").touch()
        read_until(terminal, source, "succeeded in")
        assert process.wait(60) == 0
    assert "validate" not in terminal.text, "the view is gone"
    assert "epoch 2 train_loss 0.2" in terminal.text, "the line of the epoch stays"


def test_no_color_means_no_colour_and_the_same_view(hostile_dir: Path) -> None:
    run = scripted(hostile_dir, [STEP])
    (run.path / "go0").touch()
    with attached(run, 80, NO_COLOR="1") as (terminal, _, source):
        read_until(terminal, source, "loss 0.1250")
        (run.path / "end").touch()
        read_until(terminal, source, "succeeded in")
    colours = [code for code in re.findall(rb"\x1b\[([0-9;]+)m", terminal.raw) if re.search(rb"\b[3-4][0-8]\b", code)]
    assert not colours


def test_a_terminal_that_can_not_move_its_cursor_gets_lines(hostile_dir: Path) -> None:
    run = scripted(hostile_dir, [STEP, EPOCH])
    for name in ("go0", "go1"):
        (run.path / name).touch()
    with attached(run, 80, TERM="dumb") as (terminal, _, source):
        read_until(terminal, source, "epoch 2 train_loss 0.2")
        (run.path / "end").touch()
        read_until(terminal, source, "succeeded in")
    assert b"\x1b" not in terminal.raw


def test_ctrl_c_clears_the_view_and_leaves_the_run_alone(hostile_dir: Path) -> None:
    run = scripted(hostile_dir, [STEP])
    (run.path / "go0").touch()
    with attached(run, 80) as (terminal, process, source):
        read_until(terminal, source, "loss 0.1250")
        process.send_signal(signal.SIGINT)
        read_until(terminal, source, "is still running")
        assert process.wait(60) == 130
    assert "loss" not in terminal.text
    (run.path / "end").touch()
    assert finish(run) == "succeeded"


class Clock:
    """Stands for the module ``time``: a clock that the test sets."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_a_run_that_sends_no_events_is_said_to_be_where_it_was(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    with RunProgress(Output(), live=False) as shown:
        shown.wait()
        clock.now += 31
        shown.wait()
        shown.show(STEP)
        clock.now += 31
        shown.wait()
        shown.wait()
    assert capsys.readouterr().err.splitlines() == [
        "starting",
        "train epoch 2/4 30/120 loss 0.1250  81 pairs/s  memory 1.5 GB  GPU 20.5 GB  1:02:05 left in all",
    ]


def test_the_metric_of_a_run_that_names_no_best_is_its_first_of_the_validation() -> None:
    standing = Standing()
    standing.take({"event": "epoch", "metrics": {"train_loss": 1.0, "val_loss": 0.5, "val_ap": 0.7}})
    assert (standing.watched, standing.best) == (("val_loss", 0.5), None)


def test_a_metric_that_this_epoch_did_not_measure_keeps_its_last_value() -> None:
    standing = Standing()
    standing.take(EPOCH)
    standing.take({**EPOCH, "epoch": 3, "metrics": {"train_loss": 0.1}})
    assert (standing.watched, standing.best) == (("val_ap", 0.91), (0.95, 1))


@pytest.mark.parametrize(
    "event",
    [
        {"event": "progress", "step": None, "steps": "x", "eta_s": True, "phase": None, "num_epochs": []},
        {"event": "epoch", "metrics": None, "best": None},
        {"event": "epoch", "metrics": {"val_loss": "x"}, "best": {"name": None, "value": "x"}},
    ],
)
def test_values_of_another_kind_are_passed_over(event: dict[str, Any]) -> None:
    standing = Standing()
    standing.take(event)
    assert standing.numbers() == []
    assert 0 <= standing.share <= 1


def test_a_loss_of_zero_is_shown() -> None:
    standing = Standing()
    standing.take({**STEP, "loss": 0.0})
    assert standing.numbers()[0] == "loss 0.0000"

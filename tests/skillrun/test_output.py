"""What the command line says: data on stdout, talk on stderr, progress as a bounded number of lines."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from skillrun.cli import progress
from skillrun.cli.output import SCHEMA_VERSION, Output
from skillrun.cli.progress import RunProgress, epoch_line
from skillrun.errors import DataError

Captured = pytest.CaptureFixture[str]


def test_text_is_the_answer_without_json(capsys: Captured) -> None:
    Output().data({"a": 1}, "one ü")
    assert capsys.readouterr() == ("one ü\n", "")


def test_with_json_the_answer_is_one_document_with_a_version(capsys: Captured) -> None:
    Output(as_json=True).data({"a": "ü"}, "one")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"schema_version": SCHEMA_VERSION, "a": "ü"}
    assert err == ""


def test_talk_and_hints_go_to_stderr_also_with_json(capsys: Captured) -> None:
    for output in (Output(), Output(as_json=True)):
        output.say("note")
        output.hint("skillrun runs list")
        assert capsys.readouterr() == ("", "note\nnext: skillrun runs list\n")


def test_an_error_is_one_line_and_its_fix(capsys: Captured) -> None:
    Output().error(DataError("E_DATA", "row 3:\nno image", "add it").to_json())
    assert capsys.readouterr() == ("", "error[E_DATA]: row 3: no image\n  fix: add it\n")


def test_an_error_without_a_fix_is_one_line(capsys: Captured) -> None:
    Output().error(DataError("E_DATA", "broken").to_json())
    assert capsys.readouterr().err == "error[E_DATA]: broken\n"


def test_with_json_an_error_is_a_document_on_stdout_too(capsys: Captured) -> None:
    Output(as_json=True).error(DataError("E_DATA", "broken ü", "mend it").to_json())
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == DataError("E_DATA", "broken ü", "mend it").to_json()
    assert err.startswith("error[E_DATA]")


def test_a_table_shows_every_cell(capsys: Captured) -> None:
    Output().table("runs", ("id", "state", "n"), [("one", "failed", 3), ("two", None, 0)], "no runs")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["one", "failed", "3"] in lines
    assert ["two", "0"] in lines


def test_a_table_is_a_list_of_objects_with_json(capsys: Captured) -> None:
    Output(as_json=True).table("runs", ("id", "n"), [("one", 3)], "no runs")
    assert json.loads(capsys.readouterr().out)["runs"] == [{"id": "one", "n": 3}]


def test_an_empty_table_says_so_on_stderr_and_is_an_empty_list_with_json(capsys: Captured) -> None:
    Output().table("runs", ("id",), [], "no runs")
    assert capsys.readouterr() == ("", "no runs\n")
    Output(as_json=True).table("runs", ("id",), [], "no runs")
    assert json.loads(capsys.readouterr().out)["runs"] == []


@pytest.mark.parametrize("cell", ["/data/[boards]/train", ":warning:"])
def test_a_cell_is_shown_as_it_is(capsys: Captured, cell: str) -> None:
    Output().table("keys", ("key", "value"), [("a", cell)], "")
    assert cell in capsys.readouterr().out


def test_a_cell_with_a_slash_in_brackets_is_shown(capsys: Captured) -> None:
    Output().table("keys", ("key",), [("[/x]",)], "")
    assert "[/x]" in capsys.readouterr().out


def test_text_that_the_terminal_can_not_show_is_replaced_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    Output().say("boards ü \udcff")
    assert raw.getvalue() == b"boards ? ?\n"


def step(epoch: int, number: int) -> dict[str, Any]:
    return {
        "event": "progress",
        "phase": "train",
        "epoch": epoch,
        "num_epochs": 3,
        "step": number,
        "steps": 100,
        "loss": 0.25,
        "pairs_per_s": 120.4,
        "eta_s": 185.2,
    }


EPOCH = {"event": "epoch", "epoch": 2, "metrics": {"val_ap": 0.98765, "val_loss": 0.1}, "lr": 0.0005, "seconds": 12.4}


class Clock:
    """Stands for the module ``time``: a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


def test_without_a_terminal_there_is_one_line_per_30_s_and_one_per_epoch(capsys: Captured, clock: Clock) -> None:
    with RunProgress(Output(), live=False) as shown:
        for epoch in (1, 2, 3):
            for number in range(100):
                shown.show(step(epoch, number))
                clock.now += 0.5
            shown.show({**EPOCH, "epoch": epoch})
    lines = capsys.readouterr().err.splitlines()
    seconds = 3 * 100 * 0.5
    assert sum(line.startswith("epoch ") for line in lines) == 3
    steps = [line for line in lines if not line.startswith("epoch ")]
    assert 1 <= len(steps) <= seconds / progress.LINE_EVERY_S


def test_a_short_run_shows_its_epochs_only(capsys: Captured, clock: Clock) -> None:
    with RunProgress(Output(), live=False) as shown:
        shown.show_all([{"event": "start"}, *(step(1, number) for number in range(50)), EPOCH, {"event": "end"}])
    assert capsys.readouterr().err.splitlines() == [epoch_line(EPOCH)]


def test_a_progress_line_says_phase_step_loss_speed_and_time_left(capsys: Captured, clock: Clock) -> None:
    with RunProgress(Output(), live=False) as shown:
        clock.now += 31
        shown.show(step(2, 7))
    line = capsys.readouterr().err.strip()
    assert line == "train epoch 2/3 7/100 loss 0.2500  120 pairs/s  3:05 left in all"


def test_progress_without_numbers_is_a_bare_line(capsys: Captured, clock: Clock) -> None:
    with RunProgress(Output(), live=False) as shown:
        clock.now += 31
        shown.show({"event": "progress", "phase": "evaluate", "step": 1, "steps": 2, "loss": None, "eta_s": None})
    assert capsys.readouterr().err == "evaluate 1/2\n"


def test_notices_are_shown_and_unknown_events_are_not(capsys: Captured, clock: Clock) -> None:
    with RunProgress(Output(as_json=True), live=False) as shown:
        shown.show_all([{"event": "notice", "message": "clamped [x]"}, {"event": "new kind"}, {}])
    assert capsys.readouterr() == ("", "note: clamped [x]\n")


def test_a_terminal_gets_a_bar_and_the_same_epoch_lines(capsys: Captured) -> None:
    with RunProgress(Output(), live=True) as shown:
        shown.show_all([step(1, 5), EPOCH, {"event": "notice", "message": "clamped [x]"}])
    out, err = capsys.readouterr()
    assert out == ""
    assert "val_ap 0.9877" in err
    assert "clamped [x]" in err


def test_an_epoch_line_says_metrics_and_seconds() -> None:
    line = epoch_line(EPOCH)
    assert line.startswith("epoch 2  ")
    assert "val_ap 0.9877" in line
    assert line.endswith("(12 s)")


def test_an_epoch_line_leaves_out_what_is_no_number() -> None:
    assert epoch_line({"epoch": 1, "metrics": {"val_ap": None, "note": "x"}}) == "epoch 1    (0 s)"


def test_an_epoch_line_says_the_learning_rate() -> None:
    assert "0.0005" in epoch_line(EPOCH) or "5e-04" in epoch_line(EPOCH)

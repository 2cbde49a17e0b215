"""Watching tools on runs that go on, fail and are stopped: small programs, started for real."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from skillrun.agent.dialects import tell
from skillrun.agent.tools import TOOLS, call
from skillrun.backends.conformance import SLOW, BackendConformance, wait_until
from skillrun.runfolder import RunFolder
from skillrun.watch import status

OUTPUTS = {tool["name"]: tool["outputSchema"] for tool in tell(TOOLS, "mcp")}


class Programs(BackendConformance):
    name = "local"

    def plan_values(self, run: RunFolder, program: str) -> dict[str, Any]:
        return {"argv": (sys.executable, "-c", program), "env": {"SKILLRUN_RUN_DIR": str(run.path)}}


def ask(run: RunFolder, tool: str, /, **more: Any) -> dict[str, Any]:
    answer = call(f"skillrun_{tool}", {"run": str(run.path), **more}, run.path.parent)
    Draft202012Validator(OUTPUTS[f"skillrun_{tool}"]).validate(answer)
    return answer


def test_a_run_that_goes_on_tells_its_progress_and_can_be_stopped_twice(hostile_dir: Path) -> None:
    progress = "event(event='progress', phase='train', epoch=2, num_epochs=9, loss=0.5)\n"
    run = Programs().start(hostile_dir, progress + SLOW)
    wait_until(lambda: status(run).state == "running")
    wait_until(lambda: "loss" in ask(run, "wait_run", timeout_s=0)["progress"])
    told = ask(run, "wait_run", timeout_s=0.1)
    assert (told["state"], told["done"], told["next"]) == ("running", False, "skillrun_wait_run again")
    assert told["progress"] == {"epoch": 2, "num_epochs": 9, "loss": 0.5} and "metrics" not in told
    assert [ask(run, "stop_run")["state"] for _ in range(2)] == ["cancelled"] * 2
    assert ask(run, "wait_run")["state"] == "cancelled"


def test_a_run_that_failed_says_why_in_the_shape_of_an_error(hostile_dir: Path) -> None:
    fault = {"code": "E_SOME_CODE", "message": "no such file " + "x" * 1000, "fix": "num_epochs=2"}
    program = f"print('the last word')\nresult('failed', error={fault!r})\nsys.exit(9)"
    run = Programs().start(hostile_dir, program)
    told = ask(run, "wait_run", timeout_s=50)
    assert (told["state"], told["done"], told["next"]) == ("failed", True, "skillrun_read_log")
    assert told["error"]["code"] == "E_SOME_CODE" and told["error"]["fix"] == "num_epochs=2"
    assert told["error"]["retryable"] is False and len(told["error"]["message"]) == 400
    assert ask(run, "read_log")["lines"] == ["the last word"]
    assert ask(run, "get_result")["checkpoints"] == 0


def test_a_run_that_ends_ends_the_wait(hostile_dir: Path) -> None:
    run = Programs().start(hostile_dir, "event(event='start')\nresult('succeeded')")
    told = ask(run, "wait_run", timeout_s=50)
    assert (told["state"], told["metrics"], told["next"]) == ("succeeded", {"x": 1.0}, "skillrun_get_result")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_pages_of_runs_meet_without_a_gap(count: int, hostile_dir: Path) -> None:
    for number in range(count):
        folder = RunFolder(hostile_dir / "runs" / f"26112{number}-000000-train-aaaa")
        folder.path.mkdir(parents=True)
        folder.write_record(run_id=folder.run_id, action="train", handle=None)
    seen, cursor = list[str](), ""
    while True:
        page = call("skillrun_list_runs", {"limit": 1, "cursor": cursor}, hostile_dir)
        seen += [run["run_id"] for run in page["runs"]]
        if "next_cursor" not in page:
            break
        cursor = page["next_cursor"]
    assert len(seen) == count == page["in_all"] and seen == sorted(seen, reverse=True)

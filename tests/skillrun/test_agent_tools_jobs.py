"""Slow tools: work outlives a call, calls join it, a key means one launch, and nothing waits too long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skillrun.agent.jobs import FRESH_S, Call, Job, raised, work
from skillrun.agent.planning import launch_folder
from skillrun.agent.tools import TOOLS, call
from skillrun.backends.conformance import wait_until
from skillrun.data.synth import synth
from skillrun.errors import BackendError, ConflictError, DataError, NotFoundError, WaitTimeoutError
from skillrun.runfolder import RunFolder, list_runs

# Calls a tool as a client of its own would: argv is the name, the arguments as JSON, the workspace.
CLIENT = """
import json, sys
from pathlib import Path
from skillrun.agent.tools import call
sys.stdin.readline()
print(json.dumps(call(sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3]))))
"""
TINY = (
    *("pretrained_backbone=", "model.backbone.type=fan_tiny_8_p4_hybrid", "num_epochs=1", "batch_size=4"),
    *("dataset.classify.image_width=32", "dataset.classify.image_height=32", "dataset.classify.workers=0"),
)


@pytest.fixture
def boards(hostile_dir: Path) -> Path:
    synth(hostile_dir / "boards", task="classify", pairs=8, seed=1, size=32, force=False)
    return hostile_dir / "boards"


def check_call(root: Path, boards: Path) -> Call:
    given = next(tool for tool in TOOLS if tool.name == "skillrun_check_data").read({"paths": [str(boards)]})
    return Call("skillrun_check_data", given.model_dump(mode="json"), root)


def test_work_that_outlasts_a_call_goes_on_and_the_same_call_gets_its_answer(boards: Path, workspace: Path) -> None:
    asked = check_call(workspace, boards)
    with pytest.raises(WaitTimeoutError) as caught:
        work(asked, patience_s=0)
    assert (caught.value.code, caught.value.retryable, caught.value.exit_code) == ("E_TOOL_WORKING", True, 10)
    attempt = json.loads(Job(asked.folder).call.read_text(encoding="utf-8"))["attempt"]
    assert work(asked)["ok"]
    assert Job(asked.folder).fetched.read_text(encoding="utf-8") == attempt  # it was the first call's work


def test_an_answer_that_was_fetched_is_not_given_again(boards: Path, workspace: Path) -> None:
    asked = check_call(workspace, boards)
    assert work(asked)["ok"]
    (boards / "train" / "dataset.csv").unlink()
    (boards / "eval" / "dataset.csv").unlink()
    with pytest.raises(DataError) as caught:
        work(asked)
    assert caught.value.code == "E_DATA_LAYOUT"


def test_an_answer_that_nobody_fetched_does_not_count_when_it_is_old(boards: Path, workspace: Path) -> None:
    asked = check_call(workspace, boards)
    with pytest.raises(WaitTimeoutError):
        work(asked, patience_s=0)
    job = Job(asked.folder)
    wait_until(lambda: job.answer.is_file())
    first = json.loads(job.call.read_text(encoding="utf-8"))["attempt"]
    long_ago = job.answer.stat().st_mtime - FRESH_S - 1
    os.utime(job.answer, (long_ago, long_ago))
    assert work(asked)["ok"]
    assert json.loads(job.call.read_text(encoding="utf-8"))["attempt"] != first


def test_a_worker_that_dies_is_told_as_such_and_the_next_call_starts_anew(boards: Path, workspace: Path) -> None:
    asked = check_call(workspace, boards)
    job = Job(asked.folder)
    job.folder.mkdir(parents=True)
    job.answer.mkdir()  # the worker can not put its answer here
    with pytest.raises(BackendError) as caught:
        work(asked)
    assert (caught.value.code, caught.value.retryable) == ("E_TOOL_DIED", True)
    assert "Error" in caught.value.message
    job.answer.rmdir()
    assert work(asked)["ok"]


def test_a_workspace_that_can_not_hold_the_job_is_named(boards: Path, workspace: Path) -> None:
    asked = check_call(workspace, boards)
    asked.folder.mkdir(parents=True)
    (asked.folder / "log.txt").mkdir()
    with pytest.raises(BackendError) as caught:
        work(asked)
    assert caught.value.code == "E_LAUNCH" and str(asked.folder) in caught.value.message


def test_an_error_keeps_its_class_fix_and_details_across_processes() -> None:
    error = NotFoundError("E_X_Y", "message", "fix", retryable=True, details=["one", "two"])
    back = raised(json.loads(json.dumps(error.to_json())))
    assert type(back) is NotFoundError and back.to_json() == error.to_json()


def clients(root: Path, name: str, arguments: dict[str, Any], count: int) -> list[subprocess.CompletedProcess[str]]:
    """Several processes that call a tool at the same moment."""
    words = [sys.executable, "-c", CLIENT, name, json.dumps(arguments), str(root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen(words, text=True, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    for one in started:
        one.stdin.write("go\n")
        one.stdin.flush()
    ended = [(one, *one.communicate(timeout=120)) for one in started]
    return [subprocess.CompletedProcess(words, one.returncode, out, err) for one, out, err in ended]


def test_one_key_is_one_run_for_any_number_of_clients_and_it_outlives_them(boards: Path, workspace: Path) -> None:
    fields = {
        "action": "train",
        "train_data": str(boards / "train"),
        "eval_data": str(boards / "eval"),
        "overrides": list(TINY),
        "backend": "local",
    }
    planned = call("skillrun_plan_run", fields, workspace)
    assert planned["ok"], planned
    ended = clients(workspace, "skillrun_launch_run", {**fields, "key": "k", "plan_hash": planned["plan_hash"]}, 4)
    assert [one.returncode for one in ended] == [0] * 4, ended[0].stderr
    answers = [json.loads(one.stdout) for one in ended]
    assert len({answer["run_id"] for answer in answers}) == 1 == len(list(list_runs(workspace)))
    assert answers[0]["plan_hash"] == planned["plan_hash"]

    with pytest.raises(ConflictError) as caught:
        call("skillrun_launch_run", {**fields, "key": "k", "gpus": "none"}, workspace)
    assert caught.value.code == "E_TOOL_KEY_USED"

    run = answers[0]["run_id"]
    RunFolder(Path(answers[0]["run_dir"])).write_record(handle=None)  # as if killed before the start could be noted
    launch_again_after_a_kill(fields, planned["plan_hash"], run, workspace)
    told = call("skillrun_wait_run", {"run": run, "timeout_s": 0}, workspace)
    while not told["done"]:
        assert told["next"] == "skillrun_wait_run again"
        told = call("skillrun_wait_run", {"run": run, "timeout_s": 50}, workspace)
    assert told["state"] == "succeeded" and told["next"] == "skillrun_get_result"
    look_at_the_end(run, workspace)

    launch_again_after_a_kill(fields, planned["plan_hash"], run, workspace)


def launch_again_after_a_kill(fields: dict[str, Any], plan_hash: str, run: str, root: Path) -> None:
    """A client that was killed between the start of the run and its answer: the same key finds the run."""
    job = Job(launch_folder(root, "k"))
    wait_until(job.idle)  # while the worker that answered is leaving, a call would wait for what it wrote already
    job.answer.unlink()
    again = call("skillrun_launch_run", {**fields, "key": "k", "plan_hash": plan_hash}, root)
    assert again["run_id"] == run and len(list(list_runs(root))) == 1


def look_at_the_end(run: str, root: Path) -> None:
    """What the other tools say of an ended training."""
    result = call("skillrun_get_result", {"run": run}, root)
    assert Path(result["best_checkpoint"]).is_file() and result["checkpoints"] >= 1
    assert 0 < len(result["metrics"]) <= result["metrics_in_all"]
    parent = call("skillrun_resolve_parent", {"run": run}, root)
    assert Path(parent["checkpoint"]).samefile(result["best_checkpoint"]) and parent["candidates_in_all"] >= 1
    assert [one["run_id"] for one in call("skillrun_list_runs", {}, root)["runs"]] == [run]
    assert call("skillrun_stop_run", {"run": run}, root)["state"] == "succeeded"
    log = root / "runs" / run / "stdout.log"
    log.write_text("".join(f"line {number} ü\n" for number in range(250)), encoding="utf-8")
    last = call("skillrun_read_log", {"run": run, "lines": 3}, root)
    assert last["lines"] == ["line 247 ü", "line 248 ü", "line 249 ü"] and not last["more"]
    lines, cursor, more = list[str](), 0, True
    while more:
        page = call("skillrun_read_log", {"run": run, "lines": 100, "cursor": cursor}, root)
        lines, cursor, more = lines + page["lines"], page["next_cursor"], page["more"]
    assert len(lines) == 250 and cursor == log.stat().st_size


def test_a_launch_that_was_refused_leaves_its_key_free(boards: Path, workspace: Path) -> None:
    fields = {"action": "train", "key": "k", "train_data": str(boards / "none"), "backend": "local"}
    for _ in range(2):
        with pytest.raises((NotFoundError, DataError)):
            call("skillrun_launch_run", fields, workspace)
    with pytest.raises(ConflictError) as caught:  # the key takes other fields now, up to the demanded plan
        good = {**fields, "train_data": str(boards / "train"), "eval_data": str(boards / "eval")}
        call("skillrun_launch_run", {**good, "overrides": list(TINY), "plan_hash": "0" * 64}, workspace)
    assert caught.value.code == "E_PLAN_CHANGED"


def test_a_client_that_is_killed_leaves_the_work_going(boards: Path, workspace: Path) -> None:
    asked = check_call(workspace, boards)
    words = [sys.executable, "-c", CLIENT, asked.tool, json.dumps(asked.arguments), str(workspace)]
    client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert client.stdin is not None
    client.stdin.write("go\n")
    client.stdin.close()
    job = Job(asked.folder)
    wait_until(lambda: job.call.is_file())
    client.send_signal(signal.SIGKILL)
    client.wait()
    wait_until(lambda: job.answer.is_file())
    assert json.loads(job.answer.read_text(encoding="utf-8"))["answer"]["ok"]

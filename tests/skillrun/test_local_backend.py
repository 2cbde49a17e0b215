"""The local backend and the states of a run, with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skillrun.backends import get_backend
from skillrun.errors import BackendError, ConflictError, RunFailedError, UsageError
from skillrun.launch import resume
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder, write_atomic
from skillrun.watch import follow, read_events, require_success, status

RESULT = """
import json, os, pathlib, sys, time
run = pathlib.Path(os.environ["SKILLRUN_RUN_DIR"])
def result(status, files=()):
    (run / "result.json").write_text(json.dumps({"status": status, "metrics": {"x": 1.0},
        "checkpoints": [{"path": name, "best": True, "last": True} for name in files], "artifacts": []}))
def event(**values):
    with (run / "events.jsonl").open("a") as stream:
        stream.write(json.dumps(values) + "\\n")
"""


def start(folder: Path, program: str) -> RunFolder:
    run = RunFolder(folder / "runs" / "one")
    run.path.mkdir(parents=True)
    plan = Plan(
        run_id="one",
        run_dir=str(run.path),
        model="visual_changenet",
        action="train",
        task="classify",
        backend="local",
        image="",
        argv=(sys.executable, "-c", RESULT + program),
        env={"SKILLRUN_RUN_DIR": str(run.path)},
        results_dir=str(run.results),
        spec_text="task: classify\n",
    ).hashed()
    run.write_record(run_id="one", action="train", task="classify", backend="local", created="now")
    write_atomic(run.plan, plan.to_json())
    run.write_record(handle=get_backend("local").launch(plan))
    return run


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def finish(run: RunFolder) -> str:
    wait_until(lambda: status(run).done)
    return status(run).state


def test_success_needs_exit_code_zero_and_a_result_whose_files_exist(hostile_dir: Path) -> None:
    run = start(hostile_dir, "(run / 'm.pth').write_text('w'); result('succeeded', ['m.pth'])")
    assert finish(run) == "succeeded"
    assert require_success(status(run)).metrics == {"x": 1.0}
    (run.path / "m.pth").unlink()
    assert status(run).state == "failed"
    assert "m.pth" in status(run).reason


@pytest.mark.parametrize(
    ("program", "state", "words"),
    [
        ("print('Execution status: PASS')", "failed", "no result.json"),
        ("result('succeeded'); sys.exit(3)", "failed", "exit code 3"),
        ("result('cancelled'); sys.exit(130)", "cancelled", ""),
        ("os.kill(os.getpid(), 9)", "failed", "137"),
        ("print('CUDA out of memory'); sys.exit(1)", "failed", "CUDA out of memory"),
    ],
)
def test_anything_less_is_no_success(hostile_dir: Path, program: str, state: str, words: str) -> None:
    run = start(hostile_dir, program)
    assert finish(run) == state
    assert words in status(run).reason
    with pytest.raises(RunFailedError):
        require_success(status(run))


def test_events_are_followed_from_the_first_to_the_last(hostile_dir: Path) -> None:
    run = start(hostile_dir, "[event(event='progress', step=i) for i in range(5)]; result('succeeded')")
    assert [event["step"] for event in follow(run, poll_s=0.01)] == list(range(5))


def test_a_half_written_event_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "a"}\n{"event": ', encoding="utf-8")
    events, offset = read_events(path)
    assert [event["event"] for event in events] == ["a"]
    with path.open("a", encoding="utf-8") as stream:
        stream.write('"b"}\n')
    assert [event["event"] for event in read_events(path, offset)[0]] == ["b"]


SLOW = """
import signal
def end(*_):
    result('cancelled'); sys.exit(130)
signal.signal(signal.SIGTERM, end)
event(event='start')
time.sleep(60)
"""


def test_stop_ends_the_run_and_a_second_stop_does_nothing(hostile_dir: Path) -> None:
    run = start(hostile_dir, SLOW)
    wait_until(lambda: status(run).state == "running")
    get_backend("local").stop(run)
    assert status(run).state == "cancelled"
    get_backend("local").stop(run)
    assert status(run).state == "cancelled"


def test_a_command_that_ignores_the_request_is_killed(hostile_dir: Path) -> None:
    run = start(
        hostile_dir,
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nevent(event='start')\ntime.sleep(60)",
    )
    wait_until(lambda: status(run).state == "running")
    get_backend("local").stop(run, grace_s=0.3)
    assert finish(run) == "failed"
    assert status(run).exit_code == 137


def test_a_run_whose_supervisor_is_killed_is_lost_not_succeeded(hostile_dir: Path) -> None:
    run = start(hostile_dir, "event(event='start')\ntime.sleep(60)")
    wait_until(lambda: status(run).state == "running")
    pid = json.loads(run.record.read_text(encoding="utf-8"))["handle"]["pid"]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: status(run).done)
    assert status(run).state == "lost"
    for child in children:
        os.kill(int(child), signal.SIGKILL)


def test_an_artifact_may_be_a_folder_but_must_be_there(hostile_dir: Path) -> None:
    listed = "{'status': 'succeeded', 'artifacts': [{'path': 'masks', 'kind': 'pictures'}]}"
    run = start(hostile_dir, f"(run / 'masks').mkdir(); (run / 'result.json').write_text(json.dumps({listed}))")
    assert finish(run) == "succeeded"
    (run.path / "masks").rmdir()
    assert "masks" in status(run).reason


INTERRUPTED = """
event(event='epoch', epoch=len(list(run.glob('epoch*'))) + 1)
(run / f"epoch {len(list(run.glob('epoch*')))}").touch()
if len(list(run.glob('epoch*'))) < 2:
    result('cancelled'); sys.exit(130)
result('succeeded', ['epoch 0', 'epoch 1'])
"""


def test_an_interrupted_run_goes_on_in_its_own_folder(hostile_dir: Path) -> None:
    run = start(hostile_dir, INTERRUPTED)
    assert finish(run) == "cancelled"
    with pytest.raises(RunFailedError) as caught:
        require_success(status(run))
    assert caught.value.fix == "skillrun runs resume one"
    seen = run.events.stat().st_size
    resume(run)
    assert [event["epoch"] for event in follow(run, offset=seen, poll_s=0.01)] == [2]
    assert status(run).state == "succeeded"
    with pytest.raises(UsageError) as refused:
        resume(run)
    assert refused.value.code == "E_RESUME"


def test_a_run_that_still_goes_on_is_not_started_twice(hostile_dir: Path) -> None:
    run = start(hostile_dir, SLOW)
    wait_until(lambda: status(run).state == "running")
    with pytest.raises(ConflictError, match="running"):
        resume(run)
    get_backend("local").stop(run)


def test_a_run_goes_on_when_its_launcher_is_killed(hostile_dir: Path) -> None:
    launcher = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[2]); import test_local_backend_launcher as t; "
        "t.start(pathlib.Path(sys.argv[1]), sys.argv[3]); print('started', flush=True); import time; time.sleep(60)"
    )
    modules = hostile_dir / "modules"
    modules.mkdir()
    (modules / "test_local_backend_launcher.py").write_text(
        Path(__file__).read_text(encoding="utf-8"), encoding="utf-8"
    )
    program = "event(event='start')\nwhile not (run / 'go').exists(): time.sleep(0.02)\nresult('succeeded')"
    process = subprocess.Popen(
        [sys.executable, "-c", launcher, str(hostile_dir), str(modules), program], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.kill()
    process.wait()
    process.stdout.close()
    run = RunFolder(hostile_dir / "runs" / "one")
    wait_until(lambda: status(run).state == "running")
    (run.path / "go").touch()
    assert finish(run) == "succeeded"


def test_a_missing_command_is_named_with_the_way_to_get_it() -> None:
    from skillrun.backends.local import find_command

    with pytest.raises(BackendError) as caught:
        find_command("no_such_model_command")
    assert "skillrun[local]" in caught.value.fix

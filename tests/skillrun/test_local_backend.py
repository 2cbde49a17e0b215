"""The local backend and the states of a run, with real processes."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from skillrun.backends import Quiet
from skillrun.backends.conformance import DEAF, SLOW, BackendConformance, wait_until
from skillrun.backends.local import LocalBackend
from skillrun.errors import BackendError
from skillrun.launch import resume, stop
from skillrun.runfolder import RunFolder, read_json
from skillrun.watch import read_events, status

# Forks as a training forks its loaders; asked to end, it still needs the child, and tells whether it was there.
WITH_LOADER = """
loader = os.fork()
if not loader:
    time.sleep(60)
def end(*_):
    time.sleep(0.5)
    there = os.waitpid(loader, os.WNOHANG) == (0, 0)
    os.kill(loader, signal.SIGKILL)
    result('cancelled', there=there); sys.exit(130)
signal.signal(signal.SIGTERM, end)
event(event='start')
time.sleep(60)
"""


class TestLocalBackend(BackendConformance):
    name = "local"

    def plan_values(self, run: RunFolder, program: str) -> dict[str, Any]:
        words = (sys.executable, "-c", program, str(run.path))  # as a real command names its spec in the run folder
        return {"argv": words, "env": {"SKILLRUN_RUN_DIR": str(run.path)}}


def test_a_half_written_event_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "a"}\n{"event": ', encoding="utf-8")
    events, offset = read_events(path)
    assert [event["event"] for event in events] == ["a"]
    with path.open("a", encoding="utf-8") as stream:
        stream.write('"b"}\n')
    assert [event["event"] for event in read_events(path, offset)[0]] == ["b"]


def test_a_run_whose_supervisor_is_killed_is_lost_not_succeeded(hostile_dir: Path) -> None:
    run = TestLocalBackend().start(hostile_dir, "event(event='start')\ntime.sleep(60)")
    wait_until(lambda: status(run).state == "running")
    kill_supervisor(run)
    wait_until(lambda: status(run).done)
    assert status(run).state == "lost"
    stop(run)


def test_a_stop_leaves_its_loaders_to_the_training(hostile_dir: Path) -> None:
    run = TestLocalBackend().start(hostile_dir, WITH_LOADER)
    wait_until(lambda: status(run).state == "running")
    stop(run)
    assert (read_json(run.result) or {})["there"]


def test_so_does_a_stop_of_what_a_lost_run_left_running(hostile_dir: Path) -> None:
    run = TestLocalBackend().start(hostile_dir, WITH_LOADER)
    wait_until(lambda: status(run).state == "running")
    kill_supervisor(run)
    wait_until(lambda: status(run).state == "lost")
    stop(run)
    assert (read_json(run.result) or {})["there"]


@pytest.mark.parametrize("program", [SLOW, DEAF])
def test_what_a_lost_run_left_running_is_ended_by_a_stop(program: str, hostile_dir: Path) -> None:
    run = TestLocalBackend().start(hostile_dir, program)
    wait_until(lambda: status(run).state == "running")
    (child,) = kill_supervisor(run)
    wait_until(lambda: status(run).state == "lost")
    assert goes_on(child)
    LocalBackend().stop(run, grace_s=1)
    assert not goes_on(child)
    stop(run)
    assert status(run).state == "lost"


def test_what_a_lost_run_left_running_is_ended_before_it_is_resumed(hostile_dir: Path) -> None:
    run = TestLocalBackend().start(hostile_dir, SLOW)
    wait_until(lambda: status(run).state == "running")
    (child,) = kill_supervisor(run)
    wait_until(lambda: status(run).state == "lost")
    resume(run)
    assert not goes_on(child)
    assert status(run).state == "running"
    stop(run)
    assert status(run).state == "cancelled"


def test_what_a_lost_run_left_running_is_ended_before_its_folder_goes(hostile_dir: Path) -> None:
    run = TestLocalBackend().start(hostile_dir, DEAF)
    wait_until(lambda: status(run).state == "running")
    (child,) = kill_supervisor(run)
    wait_until(lambda: status(run).state == "lost")
    LocalBackend().forget(run)
    assert not goes_on(child)


def goes_on(pid: int) -> bool:
    """Whether a process lives; one that ended and waits for its parent does not."""
    place = Path(f"/proc/{pid}/stat")
    return place.exists() and place.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def kill_supervisor(run: RunFolder) -> list[int]:
    """Kill the supervisor of a run; returns what it started."""
    pid = json.loads(run.supervisor.read_text(encoding="utf-8"))["pid"]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    os.kill(pid, signal.SIGKILL)
    return [int(child) for child in children]


def test_a_run_that_is_stopped_as_soon_as_it_starts_is_cancelled_not_lost(hostile_dir: Path) -> None:
    for number in range(8):
        run = TestLocalBackend().start(hostile_dir / str(number), "time.sleep(60)")
        os.kill(json.loads(run.record.read_text(encoding="utf-8"))["handle"]["pid"], signal.SIGTERM)
        wait_until(lambda run=run: status(run).done)  # type: ignore[misc]
        assert run.exit.is_file()


def test_a_run_whose_launcher_was_killed_before_it_could_note_the_start_is_found_and_stopped(hostile_dir: Path) -> None:
    run = TestLocalBackend().start(hostile_dir, SLOW)
    run.write_record(handle=None)
    wait_until(lambda: status(run).state == "running")
    stop(run)
    assert status(run).state == "cancelled" and run.exit.is_file()


def test_a_run_that_nobody_noted_and_whose_supervisor_is_killed_later_is_lost_not_planned(hostile_dir: Path) -> None:
    run = TestLocalBackend().start(hostile_dir, SLOW)
    run.write_record(handle=None)
    wait_until(lambda: status(run).state == "running")
    kill_supervisor(run)
    wait_until(lambda: status(run).done)
    assert status(run).state == "lost"
    stop(run)


def test_a_resumed_run_is_followed_though_its_record_still_names_the_first_start(hostile_dir: Path) -> None:
    run = TestLocalBackend().start(hostile_dir, SLOW)
    first = run.read_record()["handle"]
    wait_until(lambda: status(run).state == "running")
    stop(run)
    resume(run)
    run.write_record(handle=first)  # as if the launcher was killed before it could note the second start
    assert not status(run).done
    stop(run)
    assert status(run).state == "cancelled" and run.exit.is_file()


def test_a_supervisor_that_can_not_note_itself_starts_nothing_and_says_why(hostile_dir: Path) -> None:
    run = RunFolder(hostile_dir / "run")
    run.supervisor.with_suffix(".tmp").mkdir(parents=True)
    plan = TestLocalBackend().make_plan(run, "event(event='start')")
    with pytest.raises(BackendError) as caught:
        LocalBackend().launch(plan, Quiet())
    assert caught.value.code == "E_LOCAL_START" and "IsADirectoryError" in caught.value.message
    assert not run.log.exists()


def test_a_missing_command_is_named_with_the_way_to_get_it() -> None:
    from skillrun.backends.local import find_command

    with pytest.raises(BackendError) as caught:
        find_command("no_such_model_command")
    assert "skillrun[local]" in caught.value.fix

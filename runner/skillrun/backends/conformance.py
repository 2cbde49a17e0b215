"""The promises of `skillrun.backends.Backend` as tests, for every backend, in this project or in another.

A test module derives a class named ``Test…`` from `BackendConformance` and says what a plan of its backend needs;
the runs are small Python programs, started for real.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skillrun.backends import Quiet, get_backend
from skillrun.errors import ConflictError, RunFailedError, SkillrunError, UsageError
from skillrun.launch import resume, stop
from skillrun.layout import RUN
from skillrun.plan import Mount, Plan
from skillrun.runfolder import RunFolder, write_atomic
from skillrun.watch import follow, require_success, status

PROGRAM = """
import json, os, pathlib, signal, sys, time
run = pathlib.Path(os.environ["SKILLRUN_RUN_DIR"])
def result(status, files=(), **more):
    (run / "result.json").write_text(json.dumps({"status": status, "metrics": {"x": 1.0},
        "checkpoints": [{"path": name, "best": True, "last": True} for name in files], "artifacts": [], **more}))
def event(**values):
    with (run / "events.jsonl").open("a") as stream:
        stream.write(json.dumps(values) + "\\n")
"""
SLOW = """
def end(*_):
    result('cancelled'); sys.exit(130)
signal.signal(signal.SIGTERM, end)
event(event='start')
time.sleep(60)
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nevent(event='start')\ntime.sleep(60)"
IN_TWO_PARTS = """
event(event='epoch', epoch=len(list(run.glob('epoch*'))) + 1)
print('part', len(list(run.glob('epoch*'))))
(run / f"epoch {len(list(run.glob('epoch*')))}").touch()
if len(list(run.glob('epoch*'))) < 2:
    result('cancelled'); sys.exit(130)
result('succeeded', ['epoch 0', 'epoch 1'])
"""


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition; fails when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def finish(run: RunFolder) -> str:
    """The state in which a run ends."""
    wait_until(lambda: status(run).done)
    return status(run).state


class BackendConformance:
    """Derive from it and set `name`; override `plan_values` where a plan of the backend needs more."""

    name: str

    def plan_values(self, run: RunFolder, program: str) -> dict[str, Any]:
        """Fields of a plan that runs a Python program whose ``SKILLRUN_RUN_DIR`` is the run folder."""
        raise LookupError("a derived class says what its plans need")

    def make_plan(self, run: RunFolder, program: str, **changes: Any) -> Plan:
        """A plan of this backend for a program."""
        values: dict[str, Any] = {
            "run_id": run.run_id,
            "run_dir": str(run.path),
            "model": "visual_changenet",
            "action": "train",
            "task": "classify",
            "backend": self.name,
            "image": "",
            "results_dir": str(run.results),
            "spec_text": "task: classify\n",
        }
        return Plan(**{**values, **self.plan_values(run, PROGRAM + program), **changes}).hashed()

    def start(self, folder: Path, program: str, **changes: Any) -> RunFolder:
        """A started run of that program."""
        run = RunFolder(folder / "runs" / f"{time.time_ns() // 1000 % 10**10:010d}-train")
        run.path.mkdir(parents=True)
        plan = self.make_plan(run, program, **changes)
        backend = get_backend(self.name)
        settled = backend.settle(plan, Quiet())
        run.write_record(run_id=run.run_id, action="train", task="classify", backend=self.name, created="now")
        write_atomic(run.plan, plan.to_json())
        run.write_record(handle=backend.launch(settled, Quiet()))
        return run

    def test_success_needs_exit_code_zero_and_a_result_whose_files_exist(self, hostile_dir: Path) -> None:
        run = self.start(hostile_dir, "(run / 'm.pth').write_text('w'); result('succeeded', ['m.pth'])")
        assert finish(run) == "succeeded"
        assert require_success(status(run)).metrics == {"x": 1.0}
        (run.path / "m.pth").unlink()
        assert status(run).state == "failed"
        assert "m.pth" in status(run).reason

    def test_anything_less_is_no_success(self, hostile_dir: Path) -> None:
        cases = (
            ("print('Execution status: PASS')", "failed", "no result.json"),
            ("result('succeeded'); sys.exit(3)", "failed", "exit code 3"),
            ("result('cancelled'); sys.exit(130)", "cancelled", ""),
            ("print('CUDA out of memory'); sys.exit(1)", "failed", "CUDA out of memory"),
        )
        for program, state, words in cases:
            run = self.start(hostile_dir, program)
            assert finish(run) == state, program
            assert words in status(run).reason
            try:
                require_success(status(run))
            except RunFailedError:
                continue
            raise AssertionError(f"{program} passed for a success")

    def test_a_run_that_kills_itself_has_failed_with_that_code(self, hostile_dir: Path) -> None:
        run = self.start(hostile_dir, "result('succeeded'); os.kill(os.getpid(), 9)")
        assert finish(run) == "failed"
        assert status(run).exit_code == 137
        assert isinstance(_error(lambda: require_success(status(run))), RunFailedError)

    def test_an_artifact_may_be_a_folder_but_must_be_there(self, hostile_dir: Path) -> None:
        listed = "artifacts=[{'path': 'masks', 'kind': 'pictures'}]"
        run = self.start(hostile_dir, f"(run / 'masks').mkdir(); result('succeeded', **dict({listed}))")
        assert finish(run) == "succeeded"
        (run.path / "masks").rmdir()
        assert "masks" in status(run).reason

    def test_events_are_followed_from_the_first_to_the_last(self, hostile_dir: Path) -> None:
        run = self.start(hostile_dir, "[event(event='progress', step=i) for i in range(5)]; result('succeeded')")
        assert [event["step"] for event in follow(run, poll_s=0.01)] == list(range(5))

    def test_the_whole_output_is_in_the_log_before_the_run_counts_as_ended(self, hostile_dir: Path) -> None:
        lines = "[print(i, file=(sys.stdout, sys.stderr)[i % 2], flush=True) for i in range(2000)]; result('succeeded')"
        run = self.start(hostile_dir, lines)
        assert finish(run) == "succeeded"
        assert sorted(map(int, run.log.read_text(encoding="utf-8").split())) == list(range(2000))

    def test_stop_ends_the_run_and_a_second_stop_does_nothing(self, hostile_dir: Path) -> None:
        run = self.start(hostile_dir, SLOW)
        wait_until(lambda: status(run).state == "running")
        stop(run)
        assert status(run).state == "cancelled"
        stop(run)
        get_backend(self.name).stop(run)
        assert status(run).state == "cancelled"

    def test_a_command_that_ignores_the_request_is_ended_all_the_same(self, hostile_dir: Path) -> None:
        run = self.start(hostile_dir, DEAF)
        wait_until(lambda: status(run).state == "running")
        run.write_record(stop_requested="now")
        get_backend(self.name).stop(run, grace_s=1)
        assert finish(run) == "cancelled"
        assert status(run).exit_code == 137

    def test_a_run_that_is_killed_without_a_request_has_failed(self, hostile_dir: Path) -> None:
        run = self.start(hostile_dir, DEAF)
        wait_until(lambda: status(run).state == "running")
        get_backend(self.name).stop(run, grace_s=1)
        assert finish(run) == "failed"

    def test_an_interrupted_run_goes_on_in_its_own_folder(self, hostile_dir: Path) -> None:
        run = self.start(hostile_dir, IN_TWO_PARTS)
        assert finish(run) == "cancelled"
        assert _error(lambda: require_success(status(run))).fix == f"skillrun runs resume {run.run_id}"
        seen = run.events.stat().st_size
        resume(run)
        assert [event["epoch"] for event in follow(run, offset=seen, poll_s=0.01)] == [2]
        assert status(run).state == "succeeded"
        assert run.log.read_text(encoding="utf-8") == "part 0\npart 1\n"
        refused = _error(lambda: resume(run))
        assert isinstance(refused, UsageError) and refused.code == "E_RESUME"

    def test_a_run_that_still_goes_on_is_not_started_twice(self, hostile_dir: Path) -> None:
        run = self.start(hostile_dir, SLOW)
        wait_until(lambda: status(run).state == "running")
        assert isinstance(_error(lambda: resume(run)), ConflictError)
        stop(run)

    def test_a_run_goes_on_when_its_launcher_is_killed(self, hostile_dir: Path) -> None:
        program = "event(event='start')\nwhile not (run / 'go').exists(): time.sleep(0.02)\nresult('succeeded')"
        run = RunFolder(hostile_dir / "runs" / f"{time.time_ns() // 1000 % 10**10:010d}-train")
        run.path.mkdir(parents=True)
        run.write_record(run_id=run.run_id, action="train", task="classify", backend=self.name, created="now")
        write_atomic(run.plan, self.make_plan(run, program).to_json())
        command = [sys.executable, "-c", LAUNCHER, str(run.path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.kill()
        process.wait()
        process.stdout.close()
        wait_until(lambda: status(run).state == "running")
        (run.path / "go").touch()
        assert finish(run) == "succeeded"


class DockerConformance(BackendConformance):
    """The suite for containers of a small image with python3, which a derived class names."""

    name = "docker"
    image: str

    def plan_values(self, run: RunFolder, program: str) -> dict[str, Any]:
        """The run folder is all that the container may write."""
        return {
            "argv": ("python3", "-c", program),
            "env": {"SKILLRUN_RUN_DIR": str(RUN)},
            "image": self.image,
            "mounts": (Mount(source=str(run.path), target=str(RUN), read_only=False, kind="dir"),),
            "gpus": "none",
            "shm_size": "64m",
            "user": f"{os.getuid()}:{os.getgid()}",
        }


LAUNCHER = """
import pathlib, sys, time
from skillrun.backends import Quiet, get_backend
from skillrun.layout import RUN
from skillrun.plan import Mount, Plan
from skillrun.runfolder import RunFolder
run = RunFolder(pathlib.Path(sys.argv[1]))
plan = Plan.load(run.plan)
backend = get_backend(plan.backend)
run.write_record(handle=backend.launch(backend.settle(plan, Quiet()), Quiet()))
print("started", flush=True)
time.sleep(60)
"""


def _error(action: Callable[[], object]) -> SkillrunError:
    """The error that an action raises."""
    try:
        action()
    except SkillrunError as error:
        return error
    raise AssertionError("no error was raised")

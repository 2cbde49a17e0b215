"""GPU requests, free GPUs and their locks, against a stand-in of NVIDIA's library that real processes load."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from skillrun import gpu_locks, gpus
from skillrun.errors import BackendError, UsageError

DRIVER = "driver 550.54.15 12040"
PATIENCE_S = 30.0

ASK = """
import json, sys, time
from dataclasses import asdict
from skillrun import gpus
from skillrun.errors import SkillrunError
request, wanted, wait_s, run_id = json.loads(sys.argv[1])
say = lambda text: (sys.stderr.write(text + "\\n"), sys.stderr.flush())
try:
    held = gpus.reserve(gpus.parse_request(request), wanted=wanted, wait_s=wait_s, say=say, run_id=run_id)
    answer = asdict(held)
except SkillrunError as error:
    answer = {"error": error.to_json()}
sys.stdout.write(json.dumps(answer) + "\\n")
sys.stdout.flush()
sys.stdin.read()
"""

LIST = """
import json, sys
from dataclasses import asdict
from skillrun import gpus
listed = [{**asdict(gpu), "free": gpu.free, "usage": gpu.usage} for gpu in gpus.list_gpus()]
sys.stdout.write(json.dumps({"driver": asdict(gpus.driver()), "gpus": listed}))
"""

KEEP = """
import subprocess, sys
from skillrun import gpus
held = gpus.reserve(gpus.parse_request("1"), wanted=1, say=sys.stderr.write, run_id="kept-run")
keeper = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], pass_fds=held.fds)
held.release()
sys.stdout.write(str(keeper.pid))
"""


def gpu(uuid: str, *, used: int = 0, util: int = 0, total: int = 81920, error: int = 0, mig: int = 0) -> str:
    return f"gpu {uuid} NVIDIA_H200 total {total} used {used} util {util} error {error} mig {mig}"


@dataclass
class Host:
    """A host with GPUs: the state that the stand-in tells, and programs that ask for GPUs there."""

    state: Path
    environment: dict[str, str]
    asking: list[subprocess.Popen[str]] = field(default_factory=list)

    def has(self, *lines: str) -> None:
        aside = self.state.with_suffix(".new")
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        aside.replace(self.state)

    def run(self, script: str) -> str:
        command = [sys.executable, "-c", script]
        return subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        ).stdout

    def ask(self, request: str, wanted: int = 1, wait_s: float = 0, run_id: str = "a-run") -> subprocess.Popen[str]:
        """A process that asks for GPUs, answers with a line, and holds them until its stdin is closed."""
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", ASK, json.dumps([request, wanted, wait_s, run_id])]
        asking = subprocess.Popen(command, env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.asking.append(asking)
        return asking

    def answer(self, request: str, wanted: int = 1, wait_s: float = 0, run_id: str = "a-run") -> dict[str, Any]:
        """The answer to one question whose GPUs are given back at once."""
        asking = self.ask(request, wanted, wait_s, run_id)
        return dict(json.loads(asking.communicate()[0]))

    def gpus(self) -> list[dict[str, Any]]:
        return list(json.loads(self.run(LIST))["gpus"])


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled stand-in."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in library")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml_standin.c")
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(source)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def host(library: Path, hostile_dir: Path) -> Iterator[Host]:
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(library),
        "NVML_STANDIN": str(hostile_dir / "state"),
        "SKILLRUN_GPU_LOCKS": str(hostile_dir / "locks"),
    }
    host = Host(hostile_dir / "state", environment)
    host.has(DRIVER, gpu("GPU-a"), gpu("GPU-b"))
    yield host
    for asking in host.asking:
        asking.kill()
        asking.communicate()


def read_answer(asking: subprocess.Popen[str]) -> dict[str, Any]:
    assert asking.stdout is not None
    return dict(json.loads(asking.stdout.readline()))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("text", "kind", "count", "ids"),
    [
        ("auto", "auto", 0, ()),
        ("none", "none", 0, ()),
        ("0", "none", 0, ()),
        ("all", "all", 0, ()),
        ("2", "count", 2, ()),
        (" 1 ", "count", 1, ()),
        ("0,1", "ids", 0, ("0", "1")),
        ("device=0", "ids", 0, ("0",)),
        ("device=0,2", "ids", 0, ("0", "2")),
        ('"device=00, 2"', "ids", 0, ("0", "2")),
        ("GPU-5c88-ab", "ids", 0, ("GPU-5c88-ab",)),
        ("GPU-5c88,MIG-GPU-77/1/0", "ids", 0, ("GPU-5c88", "MIG-GPU-77/1/0")),
    ],
)
def test_a_gpu_request_is_read_in_every_documented_spelling(
    text: str, kind: str, count: int, ids: tuple[str, ...]
) -> None:
    request = gpus.parse_request(text)
    assert (request.kind, request.count, request.ids) == (kind, count, ids)


@pytest.mark.parametrize(
    "text", ["", "-1", "two", "1.5", "0,", ",1", "0,0", "00,0", "device=", "GPU-", "cuda:0", "²", "1 2", "0;rm -rf /"]
)
def test_any_other_request_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        gpus.parse_request(text)
    assert caught.value.code == "E_GPU_REQUEST"
    assert "device=0" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "resolved", "count", "ids"),
    [("auto", True, 0, ()), ("all", False, -1, ()), ("2", False, 2, ()), ("0,1", False, 0, ("0", "1"))],
)
def test_without_a_driver_a_named_choice_is_left_to_the_engine(
    text: str, resolved: bool, count: int, ids: tuple[str, ...], hostile_dir: Path, host: Host
) -> None:
    host.state.unlink()
    answer = host.answer(text)
    assert (answer["resolved"], answer["count"], tuple(answer["ids"])) == (resolved, count, ids)
    assert "kernel module is not loaded" in answer["note"]
    assert not (hostile_dir / "locks").exists()


def test_the_driver_and_its_gpus_are_told_with_who_uses_them(host: Host) -> None:
    host.has(DRIVER, gpu("GPU-a", used=520), f"proc {os.getpid()} 512", "proc 4000000 -1")
    listed = json.loads(host.run(LIST))
    assert listed["driver"] == {"version": "550.54.15", "cuda": "12.4", "reason": "", "fix": ""}
    (only,) = listed["gpus"]
    assert (only["name"], only["memory_total_mib"], only["memory_used_mib"]) == ("NVIDIA H200", 81920, 520)
    mine, unseen = only["processes"]
    assert (mine["pid"], mine["memory_mib"]) == (os.getpid(), 512)
    assert mine["name"] and mine["user"]
    assert (unseen["user"], unseen["memory_mib"]) == ("", None)


@pytest.mark.parametrize(
    ("code", "word"), [(9, "not loaded"), (12, "installed"), (18, "updated"), (4, "may not open"), (999, "not answer")]
)
def test_a_driver_that_does_not_answer_is_explained(host: Host, code: int, word: str) -> None:
    host.has(f"init {code}")
    listed = json.loads(host.run(LIST))
    assert word in listed["driver"]["reason"]
    assert listed["gpus"] == []


def test_a_gpu_that_fell_off_the_bus_is_listed_and_never_taken(host: Host) -> None:
    host.has(DRIVER, gpu("GPU-a", error=15), gpu("GPU-b", error=999), gpu("GPU-c"))
    assert [(entry["free"], bool(entry["problem"])) for entry in host.gpus()] == [
        (False, True),
        (False, True),
        (True, False),
    ]
    assert host.answer("auto")["ids"] == ["GPU-c"]
    assert host.answer("device=0")["error"]["code"] == "E_GPU_LOST"
    assert host.answer("all")["ids"] == ["GPU-c"]


def test_what_a_gpu_can_not_tell_is_unknown_not_an_error(host: Host) -> None:
    host.has(DRIVER, "old 1", gpu("GPU-a", util=-1, used=100, mig=-1), "proc 1 10", gpu("GPU-b", total=0))
    first, second = host.gpus()
    assert first["utilisation"] is None
    assert first["free"]
    assert [process["pid"] for process in first["processes"]] == [1]
    assert second["problem"] == "does not tell its memory"


def test_memory_that_the_driver_keeps_for_itself_makes_no_gpu_busy(host: Host) -> None:
    host.has(DRIVER, gpu("GPU-a", used=600))
    assert host.answer("auto")["ids"] == ["GPU-a"]


def test_instances_of_a_divided_gpu_are_chosen_on_their_own(host: Host) -> None:
    parts = ("part MIG-a total 20000 used 19000", "part MIG-b total 20000 used 0")
    host.has(DRIVER, gpu("GPU-a", mig=1), *parts, gpu("GPU-b", mig=1))
    assert host.answer("auto")["ids"] == ["MIG-b"]
    assert host.answer("MIG-b")["ids"] == ["MIG-b"]
    divided = host.answer("device=0")["error"]
    assert divided["code"] == "E_GPU_REQUEST"
    assert "MIG-a,MIG-b" in divided["fix"]
    assert "without instances" in host.answer("device=1")["error"]["message"]


def test_auto_takes_the_idlest_of_the_free_gpus(host: Host) -> None:
    host.has(DRIVER, gpu("GPU-a", used=500), gpu("GPU-b", used=2000), gpu("GPU-c", util=60), gpu("GPU-d", used=3))
    assert host.answer("auto", wanted=1)["ids"] == ["GPU-d"]
    assert host.answer("auto", wanted=2)["ids"] == ["GPU-a", "GPU-d"]
    assert host.answer("2")["count"] == 2
    refused = host.answer("auto", wanted=3)["error"]
    assert (refused["code"], refused["exit_code"], refused["retryable"]) == ("E_GPU_BUSY", 6, True)
    assert "GPU 1 NVIDIA H200: 2000 of 81920 MiB used" in refused["message"]
    assert "GPU 2 NVIDIA H200: 0 of 81920 MiB used, 60 % busy" in refused["message"]
    assert "--wait-gpu 30m" in refused["fix"]


def test_a_busy_gpu_is_explained_by_its_processes(host: Host) -> None:
    host.has(DRIVER, gpu("GPU-a", used=40000), f"proc {os.getpid()} 39000")
    message = host.answer("auto")["error"]["message"]
    assert f"pid {os.getpid()} " in message
    assert "39000 MiB" in message


def test_more_gpus_than_there_are_is_a_usage_error(host: Host) -> None:
    refused = host.answer("3")["error"]
    assert (refused["code"], refused["fix"]) == ("E_GPU_COUNT", "--gpus 2")
    assert host.answer("auto", wanted=3)["error"]["code"] == "E_GPU_COUNT"


def test_auto_uses_the_cpu_where_the_driver_finds_no_gpu(host: Host) -> None:
    host.has(DRIVER)
    answer = host.answer("auto")
    assert (answer["count"], answer["ids"]) == (0, [])
    assert "CPU" in answer["note"]
    assert host.answer("all")["error"]["code"] == "E_GPU_COUNT"


def test_named_gpus_are_taken_in_bus_order_and_an_unknown_one_lists_what_is_there(host: Host) -> None:
    assert host.answer("1,0")["ids"] == ["GPU-a", "GPU-b"]
    assert host.answer("GPU-b")["ids"] == ["GPU-b"]
    assert host.answer("all")["ids"] == ["GPU-a", "GPU-b"]
    unknown = host.answer("0,7")["error"]
    assert (unknown["code"], unknown["exit_code"]) == ("E_GPU_UNKNOWN", 5)
    assert "1 (GPU-b)" in unknown["message"]
    assert host.answer("0,GPU-a")["error"]["code"] == "E_GPU_REQUEST"


def test_a_named_gpu_is_taken_while_another_program_uses_it_and_that_is_said(host: Host) -> None:
    host.has(DRIVER, gpu("GPU-a", used=9000))
    answer = host.answer("device=0")
    assert answer["ids"] == ["GPU-a"]
    assert "9000 of 81920 MiB" in answer["note"]
    assert host.answer("device=0", wait_s=0.2)["error"]["code"] == "E_GPU_BUSY"


def test_a_gpu_of_another_run_is_busy_although_idle_and_the_run_is_named(host: Host) -> None:
    first = host.ask("device=0", run_id="261120-223612-train-4f1c")
    assert read_answer(first)["ids"] == ["GPU-a"]
    assert host.answer("auto")["ids"] == ["GPU-b"]
    for request in ("device=0", "2", "all"):
        refused = host.answer(request)["error"]
        assert refused["code"] == "E_GPU_BUSY"
        assert "held by run 261120-223612-train-4f1c of " in refused["message"]
    first.kill()
    first.wait()
    assert host.answer("device=0")["ids"] == ["GPU-a"]


def test_none_and_a_run_that_wants_no_gpu_ask_nobody(host: Host) -> None:
    for answer in (host.answer("none"), host.answer("auto", wanted=0)):
        assert (answer["ids"], answer["count"], answer["note"], answer["resolved"]) == ([], 0, "", True)


def test_twenty_launches_at_once_share_two_gpus_between_exactly_two(host: Host) -> None:
    answers = [read_answer(asking) for asking in [host.ask("auto", run_id=f"run-{n}") for n in range(20)]]
    taken = [answer["ids"] for answer in answers if "ids" in answer]
    assert sorted(taken) == [["GPU-a"], ["GPU-b"]]
    assert {answer["error"]["code"] for answer in answers if "error" in answer} == {"E_GPU_BUSY"}


def test_launches_that_want_two_gpus_each_never_end_with_one_each(host: Host) -> None:
    answers = [read_answer(asking) for asking in [host.ask("2") for _ in range(8)]]
    assert [answer["ids"] for answer in answers if "ids" in answer] == [["GPU-a", "GPU-b"]]


def test_waiting_says_who_is_in_the_way_and_ends_when_a_gpu_frees(host: Host) -> None:
    host.has(DRIVER, gpu("GPU-a", used=50000, util=99), "proc 1 49000")
    asking = host.ask("auto", wait_s=PATIENCE_S)
    assert asking.stderr is not None
    first = asking.stderr.readline()
    assert first.startswith("waiting up to ")
    assert "50000 of 81920 MiB used, 99 % busy" in first
    host.has(DRIVER, gpu("GPU-a"))
    assert read_answer(asking)["ids"] == ["GPU-a"]
    assert "taking GPU 0 after" in asking.stderr.readline()


def test_waiting_for_a_run_ends_with_that_run(host: Host) -> None:
    holder = host.ask("all")
    assert read_answer(holder)["count"] == 2
    waiting = host.ask("device=1", wait_s=PATIENCE_S)
    assert waiting.stderr is not None
    assert "held by run a-run" in waiting.stderr.readline()
    holder.kill()
    assert read_answer(waiting)["ids"] == ["GPU-b"]


def test_waiting_ends_in_time(host: Host) -> None:
    host.has(DRIVER, gpu("GPU-a", used=50000))
    began = time.monotonic()
    refused = host.answer("auto", wait_s=0.3)["error"]
    assert refused["code"] == "E_GPU_BUSY"
    assert "0 s of waiting" in refused["message"]
    assert 0.3 <= time.monotonic() - began < 10


def test_the_hold_outlives_the_launcher_and_ends_with_the_keeper(host: Host) -> None:
    host.has(DRIVER, gpu("GPU-a"))
    launcher = subprocess.Popen(
        [sys.executable, "-c", KEEP], env=host.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None and launcher.stdin is not None
    launcher.wait()
    assert "held by run kept-run" in host.answer("auto")["error"]["message"]
    launcher.stdin.close()
    until(lambda: "ids" in host.answer("auto"))
    launcher.stdout.close()


@pytest.fixture
def locks(hostile_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = hostile_dir / "locks"
    monkeypatch.setenv("SKILLRUN_GPU_LOCKS", str(folder))
    return folder


def take(uuid: str, run_id: str = "a-run") -> int | None:
    with gpu_locks.choosing():
        return gpu_locks.take(uuid, run_id)


def test_lock_files_are_shared_by_all_users_whatever_the_umask(locks: Path) -> None:
    before = os.umask(0o077)
    try:
        held = take("GPU-a")
    finally:
        os.umask(before)
    assert held is not None
    assert stat.S_IMODE(locks.stat().st_mode) == 0o1777
    assert stat.S_IMODE((locks / "GPU-a.lock").stat().st_mode) == 0o666
    assert sorted(path.name for path in locks.iterdir()) == ["GPU-a.lock", "choosing.lock"]
    os.close(held)


def test_a_lock_is_never_written_through_a_link(locks: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine", encoding="utf-8")
    locks.mkdir()
    (locks / "GPU-a.lock").symlink_to(precious)
    with pytest.raises(BackendError) as caught:
        take("GPU-a")
    assert caught.value.code == "E_GPU_LOCKS"
    assert precious.read_text(encoding="utf-8") == "mine"


def test_a_lock_that_is_no_plain_file_is_refused(locks: Path) -> None:
    locks.mkdir()
    os.mkfifo(locks / "GPU-a.lock")
    with pytest.raises(BackendError) as caught:
        take("GPU-a")
    assert caught.value.code == "E_GPU_LOCKS"


def test_a_lock_folder_that_can_not_be_used_is_named(locks: Path) -> None:
    locks.write_text("a file", encoding="utf-8")
    with pytest.raises(BackendError) as caught:
        take("GPU-a")
    assert str(locks) in caught.value.message


def test_what_a_lock_file_says_is_not_trusted(locks: Path) -> None:
    held = take("GPU-a")
    assert held is not None
    for note, shown in (
        ('{"run": "x\\u001b[31m", "user": "eve", "pid": 1}', "run x[31m of eve"),
        ("not json", "another skillrun run"),
        ("[]", "another skillrun run"),
        ("x" * 10_000_000, "another skillrun run"),
    ):
        (locks / "GPU-a.lock").write_text(note, encoding="utf-8")
        with gpu_locks.choosing():
            assert gpu_locks.holder("GPU-a") == shown
    os.close(held)
    with gpu_locks.choosing():
        assert gpu_locks.holder("GPU-a") == ""


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")
def test_another_user_takes_the_lock_of_a_file_that_is_not_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o755)
        locks = Path(open_to_all) / "locks"
        monkeypatch.setenv("SKILLRUN_GPU_LOCKS", str(locks))
        held = take("GPU-a")
        (locks / "GPU-b.lock").touch(0o644)
        script = (
            "import os, sys; from skillrun import gpu_locks; os.setgid(12345); os.setuid(12345)\n"
            "with gpu_locks.choosing():\n"
            "    free = [gpu_locks.take(uuid, 'theirs') is not None for uuid in ('GPU-a', 'GPU-b', 'GPU-c')]\n"
            "sys.stdout.write(repr(free))\n"
        )
        answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert answer.stdout == "[False, True, True]"
        assert held is not None
        os.close(held)

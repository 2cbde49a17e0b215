"""Places for trials on a host with GPUs: a stand-in of NVIDIA's library that a real process loads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ASK = """
import json, sys
from skillrun.automl.slots import Slots
from skillrun.hostoptions import HostOptions
asked, jobs, per_trial = json.loads(sys.argv[1])
slots = Slots(HostOptions(gpus=asked), jobs, per_trial)
text, taken = slots.text(), []
while slots.free() and len(taken) < 10:
    host = slots.take(f"run-{len(taken)}")
    taken.append(host.gpus)
first = slots.at_once
slots.give_back("run-0")
again = slots.take("run-x").gpus if slots.free() else ""
print(json.dumps({"text": text, "taken": taken, "at_once": first, "again": again}))
"""
Ask = Callable[..., dict[str, Any]]


def gpu(uuid: str, used: int = 0) -> str:
    return f"gpu {uuid} NVIDIA_H200 total 81920 used {used} util 0 error 0 mig 0"


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in library")
    source = Path(__file__).with_name("nvml_standin.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(tmp_path / "libnvidia-ml.so.1"), str(source)], check=True)
    lines = ["driver 550.54.15 12040", gpu("GPU-a"), gpu("GPU-b", used=40000), gpu("GPU-c"), gpu("GPU-d")]
    (tmp_path / "state").write_text("\n".join(lines) + "\n", encoding="utf-8")
    environment = {
        **os.environ,
        "NVML_STANDIN": str(tmp_path / "state"),
        "LD_LIBRARY_PATH": str(tmp_path),
        "SKILLRUN_GPU_LOCKS": str(tmp_path / "locks"),
    }

    def answer(asked: str, jobs: int = 0, per_trial: int = 1) -> dict[str, Any]:
        command = [sys.executable, "-c", ASK, json.dumps([asked, jobs, per_trial])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return answer


def test_every_free_gpu_gets_one_trial_and_a_freed_one_the_next(ask: Ask) -> None:
    found = ask("auto")
    assert found["taken"] == ["GPU-a", "GPU-c", "GPU-d"]
    assert found["again"] == "GPU-a"
    assert "free now: 3 of 4 GPUs" in found["text"]


@pytest.mark.parametrize(
    ("asked", "jobs", "per_trial", "taken"),
    [
        ("auto", 2, 1, ["GPU-a", "GPU-c"]),
        ("0,2", 0, 1, ["GPU-a", "GPU-c"]),
        ("GPU-d", 0, 1, ["GPU-d"]),
        ("auto", 0, 2, ["GPU-a,GPU-c"]),
        ("none", 0, 1, ["none"]),
        ("none", 3, 1, ["none", "none", "none"]),
    ],
)
def test_jobs_names_and_gpus_of_one_trial_bound_the_places(
    ask: Ask, asked: str, jobs: int, per_trial: int, taken: list[str]
) -> None:
    assert ask(asked, jobs, per_trial)["taken"] == taken

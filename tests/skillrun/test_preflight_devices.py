"""GPUs that a process of this host was told to have: on a host without a driver, and beside a stand-in of NVIDIA's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skillrun import gpus
from skillrun.errors import UsageError
from skillrun.plan import Plan
from skillrun.preflight.devices import check_devices

ASK = """
import json, sys
from skillrun.errors import SkillrunError
from skillrun.plan import Plan
from skillrun.preflight.devices import check_devices
try:
    check_devices(Plan.model_validate(json.loads(sys.argv[1])))
    told = ""
except SkillrunError as error:
    told = error.code + " " + error.fix
sys.stdout.write(told)
"""
GPUS = (("GPU-a", 0), ("GPU-b", 40000))


def plan(asked: str, backend: str = "local") -> Plan:
    places = {"run_dir": "/r", "results_dir": "/r/results", "spec_text": "task: classify\n"}
    return Plan(
        model="visual_changenet",
        action="train",
        task="classify",
        run_id="r",
        image="",
        argv=(),
        backend=backend,
        gpus=asked,
        **places,
    )


@pytest.mark.skipif(bool(gpus.driver().version), reason="a driver answers here")
@pytest.mark.parametrize("asked", ["1", "64", "0,1", "GPU-a", "all"])
def test_a_process_is_refused_gpus_without_a_driver_and_a_container_is_left_to_its_engine(asked: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_devices(plan(asked))
    assert (caught.value.code, caught.value.fix) == ("E_GPU_COUNT", "--gpus none")
    check_devices(plan(asked, "docker"))


@pytest.mark.parametrize("asked", ["auto", "none"])
def test_what_names_no_gpu_passes_everywhere(asked: str) -> None:
    check_devices(plan(asked))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("1", ""),
        ("2", ""),  # one of them is busy, which is not for this check to judge
        ("GPU-b", ""),
        ("all", ""),
        ("64", "E_GPU_COUNT --gpus 2"),
        ("device=7", "E_GPU_UNKNOWN nvidia-smi -L"),
    ],
)
def test_only_gpus_that_are_there_pass(tmp_path: Path, asked: str, told: str) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in library")
    source = Path(__file__).with_name("nvml_standin.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(tmp_path / "libnvidia-ml.so.1"), str(source)], check=True)
    lines = [f"gpu {name} NVIDIA_H200 total 81920 used {used} util 0 error 0 mig 0" for name, used in GPUS]
    (tmp_path / "state").write_text("\n".join(["driver 550.54.15 12040", *lines]) + "\n", encoding="utf-8")
    places = {"NVML_STANDIN": str(tmp_path / "state"), "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(plan(asked).model_dump(mode="json"))],
        env={**os.environ, **places, "SKILLRUN_GPU_LOCKS": str(tmp_path / "locks")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == (told, 0), done.stderr

"""Failures of a training in the user's words, and how many devices it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from visual_changenet.data.loaders import train_loader
from visual_changenet.device import device_ids
from visual_changenet.errors import DataInvalidError, RunError
from visual_changenet.spec import load_spec
from visual_changenet.training.classify import ClassifyModule
from visual_changenet.training.failures import explained, fitting_batch, small_step
from visual_changenet.training.hardware import precision_of
from visual_changenet.training.segment import SegmentModule


@pytest.fixture(scope="module")
def module(trained_segment: Path) -> SegmentModule:
    return SegmentModule(load_spec(trained_segment / "spec.yaml"))


def test_the_batch_that_fits_follows_from_a_measured_step() -> None:
    gib = 2**30
    assert fitting_batch(total=10 * gib, static=1 * gib, probe_peak=3 * gib, probe=2) == 8
    assert fitting_batch(total=4 * gib, static=3 * gib, probe_peak=5 * gib, probe=2) == 2


@pytest.mark.parametrize(
    ("text", "code", "fix"),
    [
        (
            "DefaultCPUAllocator: can't allocate memory: you tried 8 bytes",
            "E_RUN_MEMORY",
            "batch_size to 4",
        ),
        ("unable to open shared memory object </torch_1> in read/write mode", "E_RUN_SHARED_MEMORY", "--shm-size"),
        ("DataLoader worker (pid(s) 12) exited unexpectedly", "E_RUN_LOADER", "workers"),
        ("DataLoader worker (pid 12) is killed by signal: Killed.", "E_RUN_LOADER", "workers"),
    ],
)
def test_errors_of_libraries_are_translated(module: SegmentModule, text: str, code: str, fix: str) -> None:
    with pytest.raises(RunError) as caught, explained(module, 8):
        raise RuntimeError(text)
    assert caught.value.code == code
    assert fix in caught.value.fix
    assert caught.value.retryable


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_the_step_that_is_measured_runs_and_leaves_no_gradient(case: Any, tmp_path: Path, task: str) -> None:
    write, kind = (case.write_segment, SegmentModule) if task == "segment" else (case.write_spec, ClassifyModule)
    module = kind(load_spec(write(tmp_path)))
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    small_step(module)
    assert torch.isfinite(torch.tensor(module.summary("train")["train_loss"]))
    assert all(parameter.grad is None for parameter in module.parameters())


def test_an_unknown_error_stays_what_it_is(module: SegmentModule) -> None:
    with pytest.raises(RuntimeError, match="shape mismatch"), explained(module, 8):
        raise RuntimeError("shape mismatch")


@pytest.mark.parametrize(
    ("count", "ids", "expected"),
    [(1, [0], [0]), (1, [0, 1], [0, 1]), (4, [0], [0, 1, 2, 3]), (2, [3, 5], [3, 5]), (1, [2], [2])],
)
def test_of_num_gpus_and_gpu_ids_the_one_with_more_gpus_counts(count: int, ids: list[int], expected: list[int]) -> None:
    assert device_ids({"num_gpus": count, "gpu_ids": ids}) == expected


def test_half_precision_of_gpus_becomes_bfloat16_on_a_cpu() -> None:
    assert precision_of("16-mixed", torch.device("cpu")) == "bf16-mixed"
    assert precision_of("16-mixed", torch.device("cuda")) == "16-mixed"


def test_a_data_set_of_one_class_is_refused(case: Any, tmp_path: Path) -> None:
    spec = load_spec(case.write_spec(tmp_path))
    table = tmp_path / "data.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("bridge", "PASS"), encoding="utf-8")
    with pytest.raises(DataInvalidError, match="the label of every row is PASS"):
        train_loader(spec["dataset"]["classify"], 1)

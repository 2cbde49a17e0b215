"""Loader processes: a stop of everything leaves them to the training, which ends its step and saves."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from visual_changenet.data import worker


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_loader_ends_at_the_word_of_its_training_only(method: str) -> None:
    before = set(multiprocessing.active_children())
    batches: DataLoader[Any] = DataLoader(
        TensorDataset(torch.arange(64)),
        num_workers=1,
        worker_init_fn=worker.start,
        multiprocessing_context=method,
        persistent_workers=True,
    )
    first = iter(batches)
    next(first)
    (loader,) = set(multiprocessing.active_children()) - before
    for stop in ("TERM", "INT", "TERM"):
        subprocess.run(["kill", f"-{stop}", str(loader.pid)], check=True)
    assert len(list(first)) == 63
    assert loader.is_alive()
    for _ in range(30):  # one that comes while another waits to be looked at is lost
        loader.terminate()
        loader.join(1)
    assert loader.exitcode == 0


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_of_the_whole_group_saves_what_was_trained(stop: signal.Signals, case: Any, tmp_path: Path) -> None:
    far = 10_000
    spec = case.write_segment(tmp_path, num_epochs=far, checkpoint_interval=far, validation_interval=far)
    folder = tmp_path / "results" / "train"
    events = folder / "events.jsonl"
    command = case.command("train", spec, "dataset.segment.workers=2")
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and '"epoch"' not in (events.read_text() if events.exists() else ""):
            os.sched_yield()
        os.killpg(process.pid, stop)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    result = case.result(folder)
    assert (result["status"], result["error"]["code"]) == ("cancelled", "E_CANCELLED")
    assert [(folder / entry["path"]).is_file() for entry in result["checkpoints"]] == [True]

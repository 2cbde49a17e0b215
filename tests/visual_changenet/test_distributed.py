"""Several processes: one set of files, the same weights, and metrics that agree with a single process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run([*launcher, *arguments], capture_output=True, text=True, timeout=180, check=False)


def metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "result.json").read_text(encoding="utf-8"))["metrics"]
    return found


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_two_processes_validate_like_one(task: str, case: Any, tmp_path: Path) -> None:
    write = case.write_segment if task == "segment" else case.write_spec
    spec = write(tmp_path, num_epochs=1)
    done = torchrun(["-m", "visual_changenet", "train", "-e", str(spec), "train.tensorboard.enabled=true"])
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "train"
    events = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert events.count("start") == events.count("end") == events.count("checkpoint") == 1
    several = metrics(folder)
    judged = case.run("evaluate", spec)
    assert judged.returncode == 0, judged.stderr
    single = metrics(tmp_path / "results" / "evaluate")
    names = ("acc", "miou", "iou_1", "mf1") if task == "segment" else ("acc", "fpr")
    for name in names:
        assert several[f"val_{name}"] == pytest.approx(single[f"test_{name}"], rel=1e-6, abs=1e-9), name
    if task == "classify":
        assert several["val_ap"] == pytest.approx(single["average_precision"], rel=1e-6)

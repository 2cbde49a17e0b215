"""What events say of a training that goes on: memory, and the best value so far."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from visual_changenet.events import EventLog, Progress
from visual_changenet.memory import peak_memory
from visual_changenet.training.recorder import Recorder


def test_progress_says_the_memory_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    Progress(EventLog(path), "train", 1).update(1, 4, 0.5)
    event = json.loads(path.read_text(encoding="utf-8"))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert event["memory_mb"] == pytest.approx(peak_kb * 1024 / 1e6, rel=0.05)
    assert "gpu_memory_mb" not in event


def test_memory_is_told_without_torch_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert peak_memory().keys() == {"memory_mb"}


def test_a_process_that_computes_with_cuda_says_what_it_reserved_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: True, max_memory_reserved=lambda: 2_500_000_000)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert peak_memory()["gpu_memory_mb"] == 2500.0


def recorder(checkpoints: list[dict[str, Any]], monitor: str = "val_loss") -> Recorder:
    options = {"checkpoint_interval": 1, "checkpoint_interval_unit": "epoch", "num_epochs": 9}
    spec = {"train": {**options, "optim": {"monitor_name": monitor}}}
    session: Any = SimpleNamespace(spec=spec, checkpoints=checkpoints)
    return Recorder(session)


def entry(epoch: int, loss: float) -> dict[str, Any]:
    return {"epoch": epoch, "step": epoch, "metrics": {"val_loss": loss}, "best": False, "last": False}


@pytest.mark.parametrize(
    ("earlier", "now", "best"),
    [
        ([], {"val_loss": 0.5}, (0.5, 4)),
        ([], {"train_loss": 0.5}, None),
        ([entry(0, 0.4), entry(1, 0.6)], {"val_loss": 0.5}, (0.4, 1)),
        ([entry(0, 0.4)], {"val_loss": 0.3}, (0.3, 4)),
        ([entry(1, 0.4)], {"train_loss": 0.1}, (0.4, 2)),
    ],
)
def test_an_epoch_says_the_best_value_up_to_now_and_its_epoch(
    earlier: list[dict[str, Any]], now: dict[str, float], best: tuple[float, int] | None
) -> None:
    found = recorder(earlier)._best_now(4, now)
    assert found == (best and {"name": "val_loss", "value": best[0], "epoch": best[1]})

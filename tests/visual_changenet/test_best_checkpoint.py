"""Which checkpoints a training keeps: those of the interval, the last, and the best."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from visual_changenet.spec import load_spec
from visual_changenet.training.classify import ClassifyModule
from visual_changenet.training.recorder import Recorder
from visual_changenet.training.segment import SegmentModule


class Trainer(SimpleNamespace):
    """Only what saving asks of Lightning's trainer: where it stands, and a file."""

    def save_checkpoint(self, path: Path) -> None:
        path.write_bytes(str(self.current_epoch).encode())


def kept(folder: Path, aps: list[float | None], interval: int, monitor: str = "val_ap") -> dict[int, set[str]]:
    """Epoch → marks of the listed checkpoints, after epochs with these validation scores (None: not validated)."""
    session: Any = SimpleNamespace(
        spec={
            "task": "classify",
            "train": {
                "checkpoint_interval": interval,
                "checkpoint_interval_unit": "epoch",
                "num_epochs": len(aps),
                "optim": {"monitor_name": monitor},
            },
        },
        results_dir=folder,
        run_dir=folder,
        checkpoints=[],
        first=True,
        relative=lambda path: path.name,
        events=SimpleNamespace(emit=lambda *_, **__: None),
    )
    recorder = Recorder(session)
    for epoch, ap in enumerate(aps):
        metrics = {"train_loss": 1.0} | ({} if ap is None else {"val_ap": ap, "val_loss": 1 - ap})
        trainer: Any = Trainer(current_epoch=epoch, global_step=epoch + 1, should_stop=False)
        recorder.keep(trainer, metrics)
    files = {path.name for path in folder.glob("model_epoch_*.pth")}
    assert files == {entry["path"] for entry in session.checkpoints}
    return {entry["epoch"]: {mark for mark in ("best", "last") if entry[mark]} for entry in session.checkpoints}


def test_the_best_is_kept_although_its_epoch_is_not_on_the_interval(tmp_path: Path) -> None:
    assert kept(tmp_path, [0.5, 0.9, 0.7, 0.6], interval=4) == {1: {"best"}, 3: {"last"}}


def test_a_better_one_takes_the_place_of_a_kept_best(tmp_path: Path) -> None:
    assert kept(tmp_path, [0.5, 0.6, 0.7, 0.6, 0.8], interval=10) == {4: {"best", "last"}}


def test_checkpoints_of_the_interval_stay(tmp_path: Path) -> None:
    assert kept(tmp_path, [0.5, 0.6, 0.7, 0.6], interval=2) == {1: set(), 2: {"best"}, 3: {"last"}}


def test_without_a_validation_there_is_a_last_and_no_best(tmp_path: Path) -> None:
    assert kept(tmp_path, [None, None, None], interval=2) == {1: set(), 2: {"last"}}


def test_the_documented_monitor_takes_the_lowest_loss(tmp_path: Path) -> None:
    assert kept(tmp_path, [0.5, 0.9, 0.7], interval=5, monitor="val_loss") == {1: {"best"}, 2: {"last"}}


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_an_unknown_monitor_is_refused_before_the_first_step(case: Any, tmp_path: Path, task: str) -> None:
    write = case.write_segment if task == "segment" else case.write_spec
    done = case.run("train", write(tmp_path), "train.optim.monitor_name=val_iou")
    assert done.returncode == 2
    assert "train.optim.monitor_name is 'val_iou'; a validation gives val_loss, val_acc" in done.stderr
    assert not list((tmp_path / "results" / "train").glob("*.pth"))


def test_what_a_validation_gives_are_the_names_to_choose_from(trained: Path, trained_segment: Path, case: Any) -> None:
    for folder, kind in ((trained, ClassifyModule), (trained_segment, SegmentModule)):
        found = case.result(folder / "results" / "train")["metrics"]
        names = kind(load_spec(folder / "spec.yaml")).validation_metrics()
        assert set(names) == {name for name in found if name.startswith("val_")}

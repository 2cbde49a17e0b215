"""TensorBoard files, and that nothing is logged or imported unless it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_tensorboard_gets_scores_pictures_and_histograms(case: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = case.write_spec(tmp_path, num_epochs=1, tensorboard={"enabled": True, "infrequent_logging_frequency": 1})
    done = case.run("train", spec)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results" / "train" / "lightning_logs").iterdir()
    board = EventAccumulator(str(folder))
    board.Reload()
    tags = board.Tags()
    assert {"train_loss", "val_loss", "val_ap", "lr"} <= set(tags["scalars"])
    assert {"image/compare_sample", "image/golden_sample"} == set(tags["images"])
    assert "histogram/model.backbone.cls_token" in tags["histograms"]


def test_without_it_there_is_no_log_folder(trained: Path) -> None:
    assert not (trained / "results" / "train" / "lightning_logs").exists()


def test_wandb_without_its_package_is_refused_with_the_fix(case: Any, tmp_path: Path) -> None:
    done = case.run("train", case.write_spec(tmp_path), "wandb.enable=true")
    assert done.returncode == 2
    assert done.stderr.startswith("error[E_SPEC_WANDB]: ")
    assert "wandb.enable to false" in done.stderr

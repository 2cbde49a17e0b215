"""What a person is shown of a run: the numbers that matter, and where the files are."""

from __future__ import annotations

from pathlib import Path

from skillrun.cli.outcome import artifact_lines, epoch_metrics, shown_metrics
from skillrun.cli.progress import epoch_line

MASKS = {
    "train_loss": 2.0,
    "train_iou_1": 0.1,
    "val_loss": 1.5,
    "val_acc": 0.99,
    "val_miou": 0.7,
    "val_iou_0": 0.98,
    "val_iou_1": 0.6,
    "val_F1_1": 0.75,
    "best_val_iou_1": 0.65,
}
PAIRS = {"train_loss": 0.3, "val_ap": 0.97, "best_val_ap": 0.98, "checkpoint": "text"}


def test_the_change_class_comes_first_and_what_is_always_high_is_left_out() -> None:
    names = [name for name, _ in shown_metrics(MASKS)]
    assert names == ["val_iou_1", "val_F1_1", "train_loss", "val_loss", "val_acc", "val_miou"]


def test_several_change_classes_are_all_shown() -> None:
    shown = dict(shown_metrics({f"test_iou_{i}": i / 10 for i in range(11)}))
    assert list(shown) == [f"test_iou_{i}" for i in range(1, 11)]


def test_numbers_of_classify_stay_as_they_are() -> None:
    assert shown_metrics(PAIRS) == [("train_loss", 0.3), ("val_ap", 0.97)]
    assert epoch_metrics(PAIRS) == shown_metrics(PAIRS)


def test_an_epoch_of_masks_fits_a_line() -> None:
    line = epoch_line({"epoch": 3, "metrics": MASKS, "seconds": 2})
    assert line.startswith("epoch 3  train_loss 2  val_loss 1.5  val_iou_1 0.6  val_F1_1 0.75  ")


def test_many_files_of_one_kind_are_shown_as_their_folder() -> None:
    entries = [{"path": f"results/masks/{i}.png", "kind": "mask"} for i in range(9)]
    entries += [{"path": "results/metrics.json", "kind": "metrics"}, {"path": "results/a", "kind": "pictures"}]
    assert artifact_lines(entries, Path("/run")) == [
        ("mask", "/run/results/masks (9 files)"),
        ("metrics", "/run/results/metrics.json"),
        ("pictures", "/run/results/a"),
    ]

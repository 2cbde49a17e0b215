"""train, evaluate and inference of task segment through the real command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from visual_changenet.errors import RunError
from visual_changenet.spec import load_spec
from visual_changenet.training.segment import SegmentModule


def test_training_reports_scores_per_class_and_writes_the_published_file(trained_segment: Path, case: Any) -> None:
    folder = trained_segment / "results" / "train"
    found = case.result(folder)
    assert found["status"] == "succeeded"
    assert [Path(entry["path"]).name for entry in found["checkpoints"]] == [
        "model_epoch_000_step_00004.pth",
        "model_epoch_001_step_00008.pth",
    ]
    assert {"train_loss", "val_loss", "val_acc", "val_miou", "val_iou_1", "val_F1_1"} <= found["metrics"].keys()
    content = torch.load(folder / "changenet_model_segment_latest.pth", weights_only=True)
    assert content["tao_model"] == "visual_changenet_segment"
    assert all(name.startswith("model.") for name in content["state_dict"])


def test_all_five_outputs_get_a_gradient(trained_segment: Path) -> None:
    spec = load_spec(trained_segment / "spec.yaml")
    torch.manual_seed(1)  # so small a head may start with all its ReLUs closed
    module = SegmentModule(spec)
    pair = torch.rand(2, 3, 32, 32)
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    module.judge((pair, pair.flip(0), mask, torch.arange(2)), "train").backward()
    for level in (1, 2, 3, 4):
        weight = module.get_parameter(f"model.decoder.make_pred_c{level}.3.weight")
        assert weight.grad is not None and weight.grad.abs().sum() > 0


def test_evaluation_writes_scores_table_masks_and_pictures(trained_segment: Path, case: Any) -> None:
    done = case.run("evaluate", trained_segment / "spec.yaml", "evaluate.vis_after_n_batches=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Pairs 4 IoU ")
    folder = trained_segment / "results" / "evaluate"
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == case.result(folder)["metrics"]
    assert {"test_acc", "test_miou", "test_iou_0", "test_iou_1", "test_precision_1", "test_recall_1"} <= metrics.keys()
    table = case.rows(folder / "predictions.csv")
    assert table[0] == ["path", "label", "score", "decision", "iou", "changed_share", "predicted_share"]
    assert [row[0] for row in table[1:]] == [f"pair {i:02d}.png" for i in range(6, 10)]
    assert all(row[1] == "CHANGE" and math.isclose(float(row[5]), 144 / 1024, rel_tol=1e-6) for row in table[1:])
    objects = case.rows(folder / "objects.csv")
    assert objects[0] == ["path", "x", "y", "width", "height", "area", "size", "covered", "found"]
    assert [row[3:7] for row in objects[1:]] == [["12", "12", "144", "large"]] * 4
    assert [row[1:3] for row in objects[1:]] == [[str(3 * (i % 5)), str(2 * (i % 7))] for i in range(6, 10)]
    assert metrics["test_objects_large"] == 4
    assert metrics["test_object_recall"] == sum(row[8] == "1" for row in objects[1:]) / 4
    with Image.open(folder / "masks" / "pair 06.png") as mask:
        assert mask.size == (32, 32) and set(np.unique(np.array(mask))) <= {0, 255}
    drawn = {path.name for path in (folder / "combined_visualisation").iterdir()}
    assert drawn == {"pair 06.png.jpg", "pair 07.png.jpg"}
    with Image.open(folder / "combined_visualisation" / "pair 06.png.jpg") as picture:
        assert picture.size == (4 * 32 + 3 * 10, 32)
    assert (folder / "worst_cases.jpg").is_file()


def test_the_table_and_the_metrics_agree_with_the_masks(trained_segment: Path, case: Any) -> None:
    done = case.run("evaluate", trained_segment / "spec.yaml", f"evaluate.results_dir={trained_segment / 'again'}")
    assert done.returncode == 0, done.stderr
    hits = union = 0
    for index in range(6, 10):
        name = f"pair {index:02d}.png"
        with Image.open(trained_segment / "again" / "masks" / name) as image:
            found = np.array(image) > 0
        with Image.open(trained_segment / "label" / name) as image:
            truth = np.array(image) > 0
        hits, union = hits + int((found & truth).sum()), union + int((found | truth).sum())
    assert case.result(trained_segment / "again")["metrics"]["test_iou_1"] == pytest.approx(hits / union, rel=1e-6)


def test_inference_needs_no_masks_and_may_average_all_scales(trained_segment: Path, case: Any, tmp_path: Path) -> None:
    root = tmp_path / "ohne Masken"
    root.mkdir()
    for name in ("A", "B", "list"):
        (root / name).symlink_to(trained_segment / name)
    changes = (f"dataset.segment.root_dir='{root}'", "dataset.segment.multi_scale_infer=true")
    done = case.run("inference", trained_segment / "spec.yaml", *changes, f"inference.results_dir={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    table = case.rows(tmp_path / "out" / "inference.csv")
    assert table[0] == ["path", "score", "decision", "predicted_share"]
    assert [row[0] for row in table[1:]] == ["pair 00.png", "pair 01.png", "pair 02.png"]
    with Image.open(tmp_path / "out" / "combined_visualisation" / "pair 00.png.jpg") as picture:
        assert picture.size == (3 * 32 + 2 * 10, 32)


def test_a_loss_that_is_no_number_names_its_batch_and_leaves_no_checkpoint(case: Any, tmp_path: Path) -> None:
    spec = case.write_segment(tmp_path)
    done = case.run("train", spec, "train.optim.lr=1e30", "train.optim.optim=sgd")
    assert done.returncode == 9
    error = case.result(tmp_path / "results" / "train")["error"]
    assert error["code"] == "E_RUN_NONFINITE"
    assert "of epoch 1" in error["message"]
    for path in (tmp_path / "results" / "train").glob("model_epoch_*.pth"):
        weights = torch.load(path, weights_only=True)["state_dict"].values()
        assert all(torch.isfinite(tensor).all() for tensor in weights if tensor.is_floating_point())


def test_the_first_bad_batch_is_remembered(trained_segment: Path) -> None:
    module = SegmentModule(load_spec(trained_segment / "spec.yaml", ["train.optim.lr=0"]))
    pair = torch.rand(2, 3, 32, 32)
    for index, value in enumerate((1.0, math.nan, 1.0, math.nan)):
        batch = (pair * value, pair, torch.zeros(2, 1, 32, 32, dtype=torch.uint8), torch.arange(2))
        module.training_step(batch, index)
    with pytest.raises(RunError, match="batch 2 of epoch 1"):
        module.check_finite()

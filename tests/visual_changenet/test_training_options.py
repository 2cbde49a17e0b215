"""Options of a training that must work together, each through the real command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

SEGMENT = (
    "train.segment.loss=mmiou",
    "train.precision=16-mixed",
    "train.activation_checkpointing=true",
    "train.optim.optim=adam",
    "train.optim.policy=step",
    "train.optim.monitor_name=val_iou_1",
    "dataset.segment.multi_scale_train=false",
    "dataset.segment.workers=2",
    "dataset.segment.align=ecc",
    "dataset.segment.num_classes=3",
    "dataset.segment.label_transform=None",
)
CLASSIFY = (
    "model.classify.difference_module=euclidean",
    "model.classify.eval_margin=1.0",
    "train.classify.loss=contrastive",
    "train.precision=bf16-true",
    "train.optim.optim=sgd",
    "train.optim.policy=step",
    "dataset.classify.align=translation",
    "encryption_key=secret",
)


def test_segment_with_everything_but_the_defaults(case: Any, tmp_path: Path) -> None:
    from PIL import Image

    spec = case.write_segment(tmp_path)
    for path in (tmp_path / "label").iterdir():
        with Image.open(path) as mask:
            mask.point(lambda value: 2 * (value > 0)).save(path)
    done = case.run("train", spec, *SEGMENT, f"dataset.segment.cache_dir={tmp_path / 'cache'}")
    assert done.returncode == 0, done.stderr
    found = case.result(tmp_path / "results" / "train")
    assert {"val_iou_0", "val_iou_1", "val_iou_2"} <= found["metrics"].keys()
    assert -2 <= found["metrics"]["train_loss"] <= 0
    notices = [e["message"] for e in case.lines(tmp_path / "results" / "train" / "events.jsonl") if "message" in e]
    assert "train.precision is 16-mixed, which needs a GPU; bf16-mixed is used." in notices
    assert any((tmp_path / "cache").rglob("*.pixels"))


def test_classify_with_everything_but_the_defaults(case: Any, tmp_path: Path) -> None:
    done = case.run("train", case.write_spec(tmp_path), *CLASSIFY)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "train"
    notices = [event["message"] for event in case.lines(folder / "events.jsonl") if event["event"] == "notice"]
    assert any(text.startswith("encryption_key has no effect") for text in notices)
    rates = [event["lr"] for event in case.lines(folder / "events.jsonl") if event["event"] == "epoch"]
    assert rates == pytest.approx([1e-4, 1e-5])


def test_a_frozen_backbone_keeps_its_weights_and_statistics(trained: Path, case: Any, tmp_path: Path) -> None:
    start = trained / "results" / "train" / "changenet_model_classify_latest.pth"
    frozen = ("model.backbone.freeze_backbone=true", f"model.backbone.pretrained_backbone_path={start}")
    done = case.run("train", trained / "spec.yaml", *frozen, f"results_dir={tmp_path}", "train.num_epochs=1")
    assert done.returncode == 0, done.stderr
    before = torch.load(start, weights_only=True)["state_dict"]
    after = torch.load(tmp_path / "train" / start.name, weights_only=True)["state_dict"]
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("model.backbone.")} <= same
    assert "model.decoder.classifier.6.weight" not in same

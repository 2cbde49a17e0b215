"""Losses, scores and learning rates against recorded values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from visual_changenet.losses import ChangeMapLoss, ContrastiveLoss, WeightedCrossEntropy, pixel_cross_entropy
from visual_changenet.losses import resized_mask as resized
from visual_changenet.mask_metrics import confusion_of, mask_scores
from visual_changenet.metrics import decision_metrics
from visual_changenet.training.module import learning_rate_factor

SIZES = (4, 4, 8, 16, 64)
WEIGHTS = [0.5, 0.5, 0.5, 0.8, 1.0]


@pytest.fixture(scope="module")
def recorded(parity_folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((parity_folder / "losses_and_metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def maps(noise: Any) -> list[Tensor]:
    return [2 * noise(f"seg{size}", (2, 3, size, size)) for size in SIZES]


@pytest.fixture(scope="module")
def mask(noise: Any) -> Tensor:
    blocks = ((noise("label", (2, 1, 4, 4)) / 1.7320508 + 1) / 2 * 3).floor().clamp(0, 2).long()
    return blocks.repeat_interleave(16, 2).repeat_interleave(16, 3)


@pytest.mark.parametrize("case", ["plain", "with_ignore"])
def test_each_map_and_the_weighted_sum_have_the_recorded_cross_entropy(
    recorded: dict[str, Any], maps: list[Tensor], mask: Tensor, case: str
) -> None:
    mask = mask.clone()
    if case == "with_ignore":
        mask[:, :, :16, :16] = 255
    expected = recorded["segment_ce"][case]
    parts = [pixel_cross_entropy(part, resized(mask, part)).item() for part in maps]
    assert parts == pytest.approx(expected["parts"], rel=1e-5)
    assert ChangeMapLoss("ce", WEIGHTS)(maps, mask).item() == pytest.approx(expected["weighted"], rel=1e-5)
    assert ChangeMapLoss("ce", None)(maps, mask).item() == pytest.approx(expected["parts"][-1], rel=1e-5)


def test_the_iou_loss_has_the_recorded_value(recorded: dict[str, Any], maps: list[Tensor], mask: Tensor) -> None:
    assert ChangeMapLoss("mmiou", None)(maps, mask).item() == pytest.approx(recorded["mmiou"]["value"], rel=1e-4)


def test_confusion_and_scores_are_the_recorded_ones(recorded: dict[str, Any], maps: list[Tensor], mask: Tensor) -> None:
    mask = mask.clone()
    mask[:, :, :16, :16] = 255
    counts = confusion_of(maps[-1], mask)
    expected = recorded["segment_metrics"]
    assert counts.tolist() == expected["confusion"]
    assert mask_scores(2 * counts) == pytest.approx(expected["scores"], rel=1e-6)


def test_contrastive_and_weighted_losses_have_the_recorded_values(recorded: dict[str, Any], noise: Any) -> None:
    labels = torch.tensor(recorded["contrastive"]["labels"])
    distance = torch.tensor(recorded["contrastive"]["distances"], requires_grad=True)
    for margin, values in recorded["contrastive"]["by_margin"].items():
        assert ContrastiveLoss(float(margin))(distance, labels).item() == pytest.approx(values["intended"], rel=1e-5)
    ContrastiveLoss(2.0)(distance, labels).backward()
    assert distance.grad is not None
    assert distance.grad.tolist() == pytest.approx(recorded["contrastive"]["grad_margin2_intended"], rel=1e-4)
    for weights, key in (([1.0, 10.0], "weights_1_10"), ([1.0, 1.0], "weights_1_1")):
        loss = WeightedCrossEntropy(weight=torch.tensor(weights))(2 * noise("logits", (8, 2)), labels)
        assert loss.item() == pytest.approx(recorded["ce"][key], rel=1e-5)


def test_decisions_have_the_recorded_rates(recorded: dict[str, Any], noise: Any) -> None:
    scores = (noise("scores", (40,)) / 3.4641 + 0.5).double().numpy()
    targets = (noise("target", (40,)) > 0.5).numpy().astype(np.int64)
    names = {"acc": "total_accuracy", "defect_acc": "defect_accuracy", "fpr": "false_alarm", "fnr": "false_negative"}
    for margin, values in recorded["aoi_metrics"]["by_margin"].items():
        found = decision_metrics(scores, targets, float(margin))
        assert found == pytest.approx({ours: values[theirs] for ours, theirs in names.items()}, rel=1e-5)


def test_learning_rates_are_the_recorded_ones(recorded: dict[str, Any]) -> None:
    for epochs, policies in recorded["lr_per_epoch_lr0_1e-4"].items():
        for policy, rates in policies.items():
            found = [1e-4 * learning_rate_factor(policy, epoch, int(epochs)) for epoch in range(int(epochs))]
            assert found == pytest.approx(rates, rel=1e-9)

"""Losses and metrics on values worked out by hand."""

import numpy as np
import pytest
import torch

from visual_changenet.losses import ContrastiveLoss
from visual_changenet.metrics import decision_metrics, inspection_metrics, ranking_metrics, recall_at_overkill
from visual_changenet.training.module import learning_rate_factor

SCORES = np.array([0.1, 0.4, 0.6, 0.2, 0.9])
TARGETS = np.array([0, 0, 0, 1, 1])


def test_contrastive_loss_judges_each_sample_by_its_own_label() -> None:
    distance, label = torch.tensor([0.1, 1.5, 0.3, 2.5]), torch.tensor([0.0, 1, 1, 0])
    expected = (0.01 + 0.25 + 2.89 + 6.25) / 4
    assert ContrastiveLoss(2.0)(distance, label).item() == pytest.approx(expected)


def test_documented_percentages_count_over_all_samples() -> None:
    found = decision_metrics(SCORES, TARGETS, 0.5)
    assert found == {"acc": 60.0, "fpr": 20.0, "fnr": 20.0, "defect_acc": 50.0}


def test_a_score_equal_to_the_margin_passes() -> None:
    assert decision_metrics(np.array([0.5]), np.array([0]), 0.5)["acc"] == 100.0


def test_inspection_rates_count_over_their_own_class() -> None:
    found = inspection_metrics(SCORES, TARGETS, 0.5)
    assert found["escape_rate"] == 0.5
    assert found["overkill_rate"] == pytest.approx(1 / 3)


def test_recall_at_an_overkill_limit_uses_the_smallest_margin_that_keeps_it() -> None:
    assert recall_at_overkill(SCORES, TARGETS, 0.05) == (0.5, 0.6)
    assert recall_at_overkill(SCORES, TARGETS, 0.67) == (1.0, 0.1)


def test_ranking_handles_distances_above_one_and_missing_classes() -> None:
    found = ranking_metrics(np.array([10.0, 20.0, 30.0, 40.0]), np.array([0, 0, 1, 1]))
    assert found == {"average_precision": 1.0, "auroc": 1.0}
    assert ranking_metrics(SCORES, np.zeros(5, np.int64)) == {}


def test_learning_rates_follow_the_documented_schedules() -> None:
    assert [learning_rate_factor("linear", e, 3) for e in range(3)] == pytest.approx([1, 0.75, 0.5])
    assert [learning_rate_factor("step", e, 2) for e in range(2)] == pytest.approx([1, 0.1])


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("seed", range(6))
def test_ranking_numbers_are_those_of_torchmetrics(levels: int, seed: int) -> None:
    """With many equal scores, and with few; distances above 1 too, which torchmetrics gets as ranks."""
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, 60) / 7.0
    targets = rng.integers(0, 2, 60)
    ranks = torch.from_numpy(np.unique(scores, return_inverse=True)[1] / len(scores))
    wanted = torch.from_numpy(targets)
    found = ranking_metrics(scores, targets)
    assert found["average_precision"] == pytest.approx(float(binary_average_precision(ranks, wanted)), abs=1e-6)
    assert found["auroc"] == pytest.approx(float(binary_auroc(ranks, wanted)), abs=1e-6)

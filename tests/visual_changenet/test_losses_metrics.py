"""Losses and metrics on values worked out by hand."""

import numpy as np
import pytest
import torch

from visual_changenet.losses import ContrastiveLoss
from visual_changenet.mask_metrics import changed_objects, object_scores
from visual_changenet.metrics import (
    decision_metrics,
    inspection_metrics,
    ranking_metrics,
    recall_at_overkill,
    threshold_sweep,
)
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


def test_the_sweep_counts_what_each_margin_would_do_from_calling_all_to_passing_all() -> None:
    assert threshold_sweep(SCORES, TARGETS, 0.5) == [
        (0.0, 0, 3, 0.0, 1.0),
        (pytest.approx(0.15), 0, 2, 0.0, pytest.approx(2 / 3)),
        (pytest.approx(0.3), 1, 2, 0.5, pytest.approx(2 / 3)),
        (0.5, 1, 1, 0.5, pytest.approx(1 / 3)),
        (0.75, 1, 0, 0.5, 0.0),
        (0.9, 2, 0, 1.0, 0.0),
    ]


@pytest.mark.parametrize("levels", [4, 50_000])
def test_every_row_of_a_sweep_agrees_with_the_metrics_and_a_long_one_keeps_its_ends_and_the_margin(levels: int) -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, levels, 3000) / levels
    targets = rng.integers(0, 2, 3000)
    rows = threshold_sweep(scores, targets, 0.31234)
    assert len(rows) <= 1000
    margins = [row[0] for row in rows]
    assert margins == sorted(set(margins))
    assert (margins[0], margins[-1]) == (0.0, scores.max())
    assert 0.31234 in margins
    for margin, escapes, calls, escape_rate, overkill in rows:
        found = inspection_metrics(scores, targets, margin)
        assert (escapes, calls) == (found["escapes"], found["false_calls"])
        assert (escape_rate, overkill) == (found["escape_rate"], found["overkill_rate"])


def test_a_sweep_without_one_class_or_with_nothing_above_zero_has_no_rates_out_of_nothing() -> None:
    assert threshold_sweep(np.array([0.2]), np.array([0]), 0.2) == [(0.0, 0, 1, 0.0, 1.0), (0.2, 0, 0, 0.0, 0.0)]
    assert threshold_sweep(np.zeros(2), np.array([0, 1]), 0.3) == [(0.0, 1, 0, 1.0, 0.0), (0.3, 1, 0, 1.0, 0.0)]


def test_objects_are_found_by_half_of_their_pixels_and_counted_by_their_share_of_the_map() -> None:
    truth, called = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    truth[0:2, 0:2] = 1  # 0.04 %: small, half of it called
    called[0:2, 0] = 1
    truth[10:15, 10:20] = 2  # 0.5 %: medium, not called
    truth[50:70, 50:70] = 1  # 4 %: large, called as another class
    called[50:70, 50:70] = 2
    truth[69:72, 70:72] = 1  # touches the large one at a corner: part of it
    truth[90:, 90:] = 255  # not counted
    found = changed_objects(truth, called)
    assert [(one.x, one.y, one.width, one.height, one.area) for one in found] == [
        (0, 0, 2, 2, 4),
        (10, 10, 10, 5, 50),
        (50, 50, 22, 22, 406),
    ]
    assert [(one.size, one.found) for one in found] == [("small", True), ("medium", False), ("large", True)]
    assert found[2].covered == pytest.approx(400 / 406)
    assert object_scores(found) == {
        "objects": 3.0,
        "object_recall": pytest.approx(2 / 3),
        "objects_small": 1.0,
        "object_recall_small": 1.0,
        "objects_medium": 1.0,
        "object_recall_medium": 0.0,
        "objects_large": 1.0,
        "object_recall_large": 1.0,
    }
    nothing = {"objects": 0.0, "objects_small": 0.0, "objects_medium": 0.0, "objects_large": 0.0}
    assert object_scores([]) == nothing, "no recall of nothing"

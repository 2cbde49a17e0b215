"""The classify data set: what is refused, and what augmentation does to a pair."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from visual_changenet.config import ExperimentConfig
from visual_changenet.data.align import find_shift, shifted
from visual_changenet.data.augment import Augmenter, Draw, Window
from visual_changenet.data.classify import ClassifyDataset
from visual_changenet.data.loaders import eval_loader, sampling_weights, train_loader
from visual_changenet.errors import DataInvalidError


def section(folder: Path, case: Any, **changes: Any) -> dict[str, Any]:
    spec = yaml.safe_load(case.write_spec(folder).read_text(encoding="utf-8"))
    spec["dataset"]["classify"] |= changes
    found: dict[str, Any] = ExperimentConfig.model_validate(spec).model_dump(mode="json")["dataset"]["classify"]
    return found


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("\ufeffinput_path,golden_path,label,object_name", "BOM"),
        ("input_path;golden_path;label;object_name", "commas"),
        ("input_path,golden_path,object_name", "label"),
    ],
)
def test_a_wrong_header_is_named(tmp_path: Path, case: Any, header: str, named: str) -> None:
    data = section(tmp_path, case)
    (tmp_path / "data.csv").write_text(f"{header}\nunit,golden,PASS,001\n", encoding="utf-8")
    with pytest.raises(DataInvalidError, match=named):
        ClassifyDataset(data, "test")


def test_an_empty_table_and_an_unreadable_image_are_named(tmp_path: Path, case: Any) -> None:
    data = section(tmp_path, case)
    (tmp_path / "unit" / "001.png").write_bytes(b"no image")
    with pytest.raises(DataInvalidError, match=r"001\.png"):
        ClassifyDataset(data, "test")[1]
    (tmp_path / "data.csv").write_text("input_path,golden_path,label,object_name\n", encoding="utf-8")
    with pytest.raises(DataInvalidError, match="no row"):
        ClassifyDataset(data, "test")


def test_training_needs_one_whole_batch_and_evaluation_does_not(tmp_path: Path, case: Any) -> None:
    data = section(tmp_path, case, batch_size=64)
    with pytest.raises(DataInvalidError, match="12 rows"):
        train_loader(data, 1)
    assert [len(batch[2]) for batch in eval_loader(data, "test")] == [12]


def test_one_class_alone_is_sampled_evenly() -> None:
    assert sampling_weights([0, 0], 0.1) == [1.0, 1.0]
    assert sampling_weights([1, 1], 0.1) == [1.0, 1.0]


def test_the_same_seed_gives_the_same_training_batches(tmp_path: Path, case: Any) -> None:
    data = section(tmp_path, case)
    batches = []
    for _ in range(2):
        torch.manual_seed(7)
        batches.append(next(iter(train_loader(data, 7)))[0])
    assert torch.equal(batches[0], batches[1])


def test_a_whole_pixel_window_moves_the_image_and_repeats_the_border() -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    moved = Draw(window=Window(2, -1, 8, 8)).apply(image)
    np.testing.assert_array_equal(moved, shifted(image, -2, 1))


def test_draws_differ_and_some_leave_the_image_uncropped() -> None:
    options = ExperimentConfig().dataset.classify.augmentation_config.model_dump()
    drawn = [Augmenter(options, (32, 32)).draw(random.Random(seed)) for seed in range(40)]
    assert {draw.window is None for draw in drawn} == {True, False}
    assert {draw.colour is None for draw in drawn} == {True, False}
    assert {draw.blur_sigma == 0 for draw in drawn} == {True, False}


@pytest.mark.parametrize("move", [(0, 0), (3, -2), (-4, 4)])
def test_registration_finds_a_whole_pixel_shift(move: tuple[int, int]) -> None:
    golden = np.random.default_rng(1).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    assert find_shift(shifted(golden, *move), golden) == (-move[0], -move[1])

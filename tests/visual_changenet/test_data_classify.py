"""The classify data set: what is refused, and what augmentation does to a pair."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from visual_changenet.config import ExperimentConfig
from visual_changenet.data.align import shifted
from visual_changenet.data.augment import Augmenter, Draw
from visual_changenet.data.classify import ClassifyDataset
from visual_changenet.data.loaders import eval_loader, sampling_weights, train_loader
from visual_changenet.data.moves import Move, Window
from visual_changenet.data.place import Place
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


@pytest.mark.parametrize("cached", [False, True])
def test_batches_do_not_depend_on_workers_or_on_the_cache(tmp_path: Path, case: Any, cached: bool) -> None:
    plain, seen = section(tmp_path, case), []
    folder = str(tmp_path / "a cache, ü") if cached else ""
    for data in (plain, plain | {"workers": 2, "cache_dir": folder}):
        loader = train_loader(data, 7)
        for epoch in (0, 3):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            seen.append([batch[0] for batch in loader])
    assert all(torch.equal(a, b) for a, b in zip(seen[0] + seen[1], seen[2] + seen[3], strict=True))
    assert not torch.equal(seen[0][0], seen[1][0])


def test_a_row_drawn_twice_in_an_epoch_is_augmented_differently(tmp_path: Path, case: Any) -> None:
    dataset = ClassifyDataset(section(tmp_path, case), "train")
    first, again, other = (dataset[Place(3, 0, position)][0] for position in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_evaluation_shares_every_row_once(tmp_path: Path, case: Any) -> None:
    data = section(tmp_path, case)
    labels = [torch.cat([batch[2] for batch in eval_loader(data, "test", rank=rank, world=5)]) for rank in range(5)]
    assert [len(share) for share in labels] == [3, 3, 2, 2, 2]
    assert labels[0].flatten().tolist() == [float(row % 3 == 0) for row in (0, 5, 10)]


@pytest.mark.parametrize("mode", ["translation", "ecc"])
def test_the_test_image_moves_onto_its_golden(tmp_path: Path, case: Any, mode: str) -> None:
    data = section(tmp_path, case, align=mode)
    golden = np.asarray(Image.open(tmp_path / "golden" / "001.png"))
    Image.fromarray(shifted(golden, 2, -1)).save(tmp_path / "unit" / "001.png")
    test, goldens = ClassifyDataset(data, "test").pixels(1)
    np.testing.assert_array_equal(goldens[0][0], golden)
    np.testing.assert_array_equal(test[0][4:-4, 4:-4], golden[4:-4, 4:-4])


def test_a_whole_pixel_window_moves_the_image_and_repeats_the_border() -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    moved = Draw(Move(window=Window(2, -1, 8, 8))).apply(image)
    np.testing.assert_array_equal(moved, shifted(image, -2, 1))


def test_draws_differ_and_some_leave_the_image_uncropped() -> None:
    options = ExperimentConfig().dataset.classify.augmentation_config.model_dump()
    drawn = [Augmenter(options, (32, 32)).draw(random.Random(seed)) for seed in range(40)]
    assert {draw.move.window is None for draw in drawn} == {True, False}
    assert {draw.colour is None for draw in drawn} == {True, False}
    assert {draw.blur_sigma == 0 for draw in drawn} == {True, False}

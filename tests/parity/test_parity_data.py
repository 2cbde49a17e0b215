"""Evaluation tensors and single augmentation steps against recorded tensors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from visual_changenet.config import ExperimentConfig
from visual_changenet.data.augment import Draw
from visual_changenet.data.classify import ClassifyDataset, Split
from visual_changenet.data.loaders import sampling_weights
from visual_changenet.data.moves import Move
from visual_changenet.data.segment import SegmentDataset

CASES = ["linear1_nomap", "linear1_map", "linear4", "grid4", "linear1_std226"]
STEPS = {
    "resize_only": Draw(),
    "hflip": Draw(Move(hflip=True)),
    "vflip": Draw(Move(vflip=True)),
    "rotate90": Draw(Move(angle=90)),
    "rotate180": Draw(Move(angle=180)),
    "rotate270": Draw(Move(angle=270)),
}


def dataset(folder: Path, split: Split, augment: bool, **settings: Any) -> ClassifyDataset:
    std = settings.pop("std", [0.229, 0.224, 0.225])
    source = {"csv_path": str(folder / "data.csv"), "images_dir": str(folder / "images")}
    options = {"augment": augment, "rgb_input_mean": [0.485, 0.456, 0.406], "rgb_input_std": std}
    section = {
        "image_height": 32,
        "image_width": 40,
        "image_ext": ".png",
        "input_map": None,
        "test_dataset": source,
        "train_dataset": source,
        "augmentation_config": options,
    } | settings
    spec = ExperimentConfig.model_validate({"dataset": {"classify": section}}).model_dump(mode="json")
    return ClassifyDataset(spec["dataset"]["classify"], split)


@pytest.mark.parametrize("case", CASES)
def test_evaluation_items_equal_the_recorded_tensors(parity_folder: Path, case: str) -> None:
    folder = parity_folder / "classify_dataset"
    settings = json.loads((folder / "cases.json").read_text(encoding="utf-8"))["cases"][case]["settings"]
    items = dataset(folder, "test", False, **settings)
    with np.load(folder / "expected.npz") as recorded:
        for row in range(len(items)):
            for name, tensor in zip(("unit", "golden", "label"), items[row], strict=True):
                np.testing.assert_allclose(tensor.numpy(), recorded[f"{case}/{row}/{name}"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("step", STEPS)
def test_single_augmentation_steps_equal_the_recorded_tensors(parity_folder: Path, step: str) -> None:
    folder = parity_folder / "classify_dataset"
    items = dataset(folder, "train", True, num_input=1)
    test, goldens = items.pixels(0)
    with np.load(folder / "expected.npz") as recorded:
        for name, lights in (("unit", test), ("golden", goldens[0])):
            found = items.normalise(STEPS[step].apply(lights[0]))
            np.testing.assert_allclose(found, recorded[f"augment_{step}/{name}"], atol=1e-6, rtol=0)


def test_sampling_weights_equal_the_recorded_ones(parity_folder: Path) -> None:
    cases = json.loads((parity_folder / "classify_dataset" / "cases.json").read_text(encoding="utf-8"))
    for ratio, expected in cases["sampler"].items():
        assert sampling_weights([0, 1, 1], float(ratio)) == pytest.approx(expected["weights"])


@pytest.mark.parametrize("case", ["binary", "multi"])
@pytest.mark.parametrize("cached", [False, True])
def test_segment_items_equal_the_recorded_tensors(parity_folder: Path, tmp_path: Path, case: str, cached: bool) -> None:
    folder = parity_folder / "segment_dataset"
    settings = json.loads((folder / "cases.json").read_text(encoding="utf-8"))[case]
    section = {
        "root_dir": str(folder),
        "test_split": case,
        "img_size": settings["img_size"],
        "label_transform": settings["label_transform"],
        "num_classes": 2 if case == "binary" else 256,
        "cache_dir": str(tmp_path / "cache") if cached else "",
    }
    spec = ExperimentConfig.model_validate({"task": "segment", "dataset": {"segment": section}})
    items = SegmentDataset(spec.model_dump(mode="json")["dataset"]["segment"], "test")
    assert items.names == settings["names"]
    with np.load(folder / "expected.npz") as recorded:
        for row in range(len(items)):
            for name, tensor in zip("ABL", items[row][:3], strict=True):
                assert tensor.dtype == (torch.uint8 if name == "L" else torch.float32)
                np.testing.assert_allclose(tensor.numpy(), recorded[f"{case}/{row}/{name}"], atol=1e-5, rtol=0)

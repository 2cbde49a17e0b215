"""Pairs to prove an export with: real ones where some can be read, else invented ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visual_changenet.data.classify import ClassifyDataset
from visual_changenet.data.segment import SegmentDataset
from visual_changenet.errors import ChangeNetError
from visual_changenet.runtime.card import Card

Floats = NDArray[np.float32]
CLASSIFY_SOURCES = ("test_dataset", "infer_dataset", "validation_dataset", "train_dataset")
SEGMENT_SOURCES = ("test_split", "predict_split", "validation_split", "train_split")
SEGMENT_PLACES = ("root_dir", "image_folder_name", "change_image_folder_name", "list_folder_name")
SEED = 1234
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Pairs:
    """Normalised images in the order of the model's inputs, and where they are from.

    Attributes:
        first: float32 (N, 3, H, W). second: float32 (N, 3, H, W), or (N, G, 3, H, W) with G golden images.
        source: ``SYNTHETIC``, or the table or list they were read from.
    """

    first: Floats
    second: Floats
    source: str

    def __len__(self) -> int:
        return len(self.first)


def find_pairs(spec: dict[str, Any], trained: dict[str, Any] | None, card: Card, count: int) -> Pairs:
    """``count`` pairs, evenly spread over the first data set that can be read, repeated where it has fewer.

    Test, inference, validation and training data are tried, of the given spec, then of the checkpoint's.

    Args:
        spec: complete. trained: the spec in the checkpoint, if it has one.
    """
    find = _segment_data if card.task == "segment" else _classify_data
    for candidate in (spec, trained or {}):
        for data, name in find(spec, candidate):
            try:
                return _read(data, name, count)
            except ChangeNetError:
                continue  # not on this machine, or not usable: pairs from elsewhere prove as much
    return synthetic_pairs(card, count)


def synthetic_pairs(card: Card, count: int) -> Pairs:
    """Noise as golden images, and the same with a bright patch as test images; the same in every call."""
    rng = np.random.default_rng(SEED)
    _, goldens = card.shapes(count)
    height, width = card.input
    golden = rng.random(goldens, np.float32)
    test = (golden if golden.ndim == 4 else golden[:, 0]).copy()
    for index, image in enumerate(test):
        top, left = (index * 5) % (height // 2), (index * 3) % (width // 2)
        image[:, top : top + height // 3, left : left + width // 3] = 1
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (card.mean, card.std))
    test, golden = (test - mean) / std, (golden - mean) / std
    first, second = (golden, test) if card.task == "segment" else (test, golden)
    return Pairs(first, second, SYNTHETIC)


Source = ClassifyDataset | SegmentDataset


def _classify_data(spec: dict[str, Any], candidate: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Data sections whose ``infer_dataset`` is each of the candidate's tables."""
    data = candidate.get("dataset", {}).get("classify", {})
    for name in CLASSIFY_SOURCES:
        source = data.get(name) or {}
        if source.get("csv_path"):
            own = {"infer_dataset": source, "image_ext": data.get("image_ext", ".jpg"), "cache_dir": None}
            yield spec["dataset"]["classify"] | own, source["csv_path"]


def _segment_data(spec: dict[str, Any], candidate: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Data sections whose ``predict_split`` is each of the candidate's lists."""
    data = candidate.get("dataset", {}).get("segment", {})
    if not data.get("root_dir"):
        return
    places = {key: data[key] for key in SEGMENT_PLACES if key in data}
    for name in SEGMENT_SOURCES:
        if data.get(name):
            own = {"predict_split": data[name], "test_split": data[name], "cache_dir": None}
            yield spec["dataset"]["segment"] | places | own, f"{data['root_dir']}, list {data[name]}"


def _read(data: dict[str, Any], name: str, count: int) -> Pairs:
    source: Source = SegmentDataset(data, "predict") if "img_size" in data else ClassifyDataset(data, "infer")
    chosen = [source[index * len(source) // count] for index in range(count)]
    first, second = (
        np.stack(side) for side in zip(*((item[0].numpy(), item[1].numpy()) for item in chosen), strict=True)
    )
    return Pairs(first, second, name)

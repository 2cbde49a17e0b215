"""Reading pairs of both tasks: 256 × 256 files to tensors, images per second and core.

Run: ``python benchmarks/data.py``. Processor time of one single-threaded process is counted, so that other work on
the machine disturbs little. "first pass": every file is decoded (the files themselves may lie in the system's
cache); "later pass": decoded images are in memory; "cache_dir, first pass of a run": a new data set over a filled
cache folder. Training uses every augmentation with its default probabilities, classify a random shift of 4 pixels too.

The column of the reference holds what the published implementation did per core on another day, 254 images/s
(classify 256 → 224), 143 (segment 256) and 173 (segment 256 → 224), all with full augmentation and without a cache,
scaled by the yardstick of ``model.py``, which took 39 ms of processor time on one thread then.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import show
from model import yardstick

from skillrun.data.synth import synth
from visual_changenet.config import ExperimentConfig
from visual_changenet.data.classify import ClassifyDataset
from visual_changenet.data.place import Place
from visual_changenet.data.segment import SegmentDataset
from visual_changenet.device import set_threads

PAIRS, FILE_SIDE, PASSES = 96, 256, 5
YARDSTICK_MS = 39.0
REFERENCE = {("classify", 224): 254.0, ("segment", 256): 143.0, ("segment", 224): 173.0}
Items = ClassifyDataset | SegmentDataset


def seconds(call: Callable[[], object]) -> float:
    """Processor time of this process during one call."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def classify_data(folder: Path, side: int, cache: str) -> dict[str, Any]:
    """The resolved ``dataset.classify`` section over one data set for both splits."""
    source = {"csv_path": str(folder / "train" / "dataset.csv"), "images_dir": str(folder / "train" / "images")}
    pictures = sorted(path for path in (folder / "train" / "images").rglob("*") if path.is_file())
    return {
        "train_dataset": source,
        "test_dataset": source,
        "image_ext": pictures[0].suffix,
        "image_width": side,
        "image_height": side,
        "num_input": 1,
        "input_map": None,
        "workers": 0,
        "cache_dir": cache,
        "augmentation_config": {"augment": True, "random_shift": 4},
    }


def segment_data(folder: Path, side: int, cache: str) -> dict[str, Any]:
    """The same for ``dataset.segment``."""
    return {"root_dir": str(folder), "img_size": side, "workers": 0, "cache_dir": cache, "test_split": "train"}


def open_items(task: str, folder: Path, side: int, augmented: bool, cache: str = "") -> Items:
    """A new data set object."""
    chosen = (classify_data if task == "classify" else segment_data)(folder, side, cache)
    spec = ExperimentConfig.model_validate({"task": task, "dataset": {task: chosen}}).model_dump(mode="json")
    set_threads(spec | {"train": spec["train"] | {"threads": 1}})
    kind = ClassifyDataset if task == "classify" else SegmentDataset
    return kind(spec["dataset"][task], "train" if augmented else "test")


def read_all(items: Items, epoch: int) -> None:
    """Make every item once."""
    for row in range(len(items)):
        items[Place(row, epoch, row)]


def passes(task: str, folder: Path, side: int, augmented: bool) -> Iterator[tuple[str, int, list[float]]]:
    """Name, images and seconds of each kind of pass."""
    fresh = [open_items(task, folder, side, augmented) for _ in range(PASSES)]
    images = 2 * len(fresh[0])
    yield "first pass", images, [seconds(partial(read_all, one, 0)) for one in fresh]
    yield "later pass", images, [seconds(partial(read_all, fresh[0], epoch)) for epoch in range(PASSES)]
    with tempfile.TemporaryDirectory() as cache:
        read_all(open_items(task, folder, side, augmented, cache), 0)
        filled = [open_items(task, folder, side, augmented, cache) for _ in range(PASSES)]
        taken = [seconds(partial(read_all, one, 0)) for one in filled]
        yield "cache_dir, first pass of a run", images, taken
        taken = [seconds(partial(read_all, filled[0], epoch)) for epoch in range(PASSES)]
        yield "cache_dir, later pass", images, taken


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    call = yardstick(torch.device("cpu"))
    before = statistics.median(seconds(call) for _ in range(15)) * 1000
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folders = {task: Path(name) / task for task in ("classify", "segment")}
        synth(folders["classify"], pairs=PAIRS, size=FILE_SIDE)
        synth(folders["segment"], pairs=PAIRS, size=FILE_SIDE, task="segment")
        for (task, side), reference in REFERENCE.items():
            for augmented in (True, False):
                for state, images, taken in passes(task, folders[task], side, augmented):
                    speed = images / statistics.median(taken)
                    scaled = reference * YARDSTICK_MS / before
                    label = f"{task} {FILE_SIDE} → {side}, {'augmented' if augmented else 'evaluation'}, {state}"
                    spread = f"{images / max(taken):.0f}–{images / min(taken):.0f}"
                    beside = (f"{scaled:.0f}", f"{speed / scaled:.1f}") if augmented else ("", "")
                    rows.append((label, f"{speed:.0f}", spread, *beside))
    after = statistics.median(seconds(call) for _ in range(15)) * 1000
    title = f"images/s per core, {PASSES} passes; yardstick {before:.1f} ms before, {after:.1f} ms after"
    show(title, ("", "images/s", "min–max", "reference", "×"), rows)


if __name__ == "__main__":
    main()

"""Reading classify pairs: 256 × 256 files to 224 × 224 tensors, in one process.

Run: ``python benchmarks/data.py``. "cold" is the first pass of a data set object (every file
is decoded; the files themselves may lie in the system's cache), "warm" a later pass, with decoded images in memory.
Training uses every augmentation with its default probabilities, a random shift of 4 pixels included.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from measure import Timing, measure, show, summary

from skillrun.data.synth import synth
from visual_changenet.config import ExperimentConfig
from visual_changenet.data.classify import ClassifyDataset, Split
from visual_changenet.device import set_threads

PAIRS, FILE_SIDE, SIDE, PASSES = 96, 256, 224, 5


def options(folder: Path) -> dict[str, Any]:
    """The resolved ``dataset.classify`` section over one data set for both splits."""
    source = {"csv_path": str(folder / "dataset.csv"), "images_dir": str(folder / "images")}
    chosen = {
        "train_dataset": source,
        "test_dataset": source,
        "image_ext": next(path.suffix for path in sorted((folder / "images").rglob("*")) if path.is_file()),
        "image_width": SIDE,
        "image_height": SIDE,
        "num_input": 1,
        "input_map": None,
        "workers": 0,
        "augmentation_config": {"augment": True, "random_shift": 4},
    }
    spec = ExperimentConfig.model_validate({"task": "classify", "dataset": {"classify": chosen}})
    set_threads(spec.model_dump(mode="json"))
    section: dict[str, Any] = spec.model_dump(mode="json")["dataset"]["classify"]
    return section


def read_all(dataset: ClassifyDataset) -> None:
    """Make every item once."""
    for index in range(len(dataset)):
        dataset[index]


def passes(section: dict[str, Any], split: Split) -> tuple[Timing, Timing, int]:
    """First pass of fresh data sets, later passes of one, and the number of images of a pass."""
    fresh = [ClassifyDataset(section, split) for _ in range(PASSES)]
    cold = summary([measure(partial(read_all, one), 1, warm_up=0).median for one in fresh])
    warm = measure(partial(read_all, fresh[0]), PASSES)
    return cold, warm, 2 * len(fresh[0])


def main() -> None:
    """Measure and print."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        boards = Path(name) / "boards"
        synth(boards, pairs=PAIRS, size=FILE_SIDE)
        section = options(boards / "train")
        splits: dict[str, Split] = {"full augmentation": "train", "evaluation": "test"}
        for label, split in splits.items():
            cold, warm, images = passes(section, split)
            for state, timing in (("cold", cold), ("warm", warm)):
                low, high = images * 1000 / timing.high, images * 1000 / timing.low
                rows.append((f"{label}, {state}", f"{images * 1000 / timing.median:.0f}", f"{low:.0f}–{high:.0f}"))
    title = f"{FILE_SIDE} → {SIDE} px, one process, {images} images a pass, {PASSES} passes"
    show(title, ("", "images/s", "min–max"), rows)


if __name__ == "__main__":
    main()

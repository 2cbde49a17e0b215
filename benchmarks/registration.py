"""What registration is worth on real boards: a plain difference of the pair as detector, before and after.

Run: ``python benchmarks/registration.py <folder of DeepPCB>`` (the folder with ``PCBData``). Held-out groups only.

* segment, tiles of 128 px: intersection over union of "difference above a threshold" with the masks over all pixels,
  at the best threshold of each mode. The masks are differences inside annotated boxes that the conversion made,
  with an offset of its own: the figure compares modes, and is no quality of a model.
* classify, crops of 64 px: average precision of the largest blurred difference against PASS / defect labels.

Milliseconds are processor time per pair for finding and applying the motion.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from measure import show
from numpy.typing import NDArray
from PIL import Image

from skillrun.data.deeppcb import convert_deeppcb
from visual_changenet.data.align import Alignment, Motion, find_motion, registered
from visual_changenet.data.images import Pixels, load_rgb
from visual_changenet.metrics import ranking_metrics

TILE, CROP, BLUR = 128, 64, 1.0
RIM = 4
THRESHOLDS = range(10, 220, 5)
SIDES = ("golden_path", "input_path")
Difference = NDArray[np.float32]


def segment_pairs(root: Path) -> Iterator[tuple[Pixels, Pixels, NDArray[np.bool_]]]:
    """Golden, test and mask of the list test."""
    for name in (root / "list" / "test.txt").read_text(encoding="utf-8").splitlines():
        golden, test = (load_rgb(root / side / name, (TILE, TILE), Image.Resampling.BICUBIC) for side in "AB")
        yield golden, test, np.array(Image.open(root / "label" / f"{Path(name).stem}.png")) == 255


def classify_pairs(root: Path) -> Iterator[tuple[Pixels, Pixels, int]]:
    """Golden, test and 1 for a defect."""
    folder = root / "eval" / "images"
    with (root / "eval" / "dataset.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            files = (sorted((folder / row[side]).glob(f"{row['object_name']}.*")) for side in SIDES)
            golden, test = (load_rgb(found[0], (CROP, CROP), Image.Resampling.BICUBIC) for found in files)
            yield golden, test, int(row["label"] != "PASS")


def difference(golden: Pixels, test: Pixels) -> Difference:
    """Mean absolute difference of the channels, blurred; (H, W), 0..255."""
    plain = cv2.absdiff(golden, test).mean(axis=2).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(plain, (0, 0), BLUR), np.float32)


class Stopwatch:
    """Adds up processor time, and counts the motions that were used."""

    def __init__(self, mode: Alignment) -> None:
        self.mode, self.seconds, self.calls, self.moved = mode, 0.0, 0, 0

    def register(self, moving: Pixels, fixed: Pixels) -> Pixels:
        """``moving`` laid on ``fixed``."""
        begin = time.process_time()
        motion: Motion | None = find_motion(moving, fixed, self.mode)
        out = registered(moving, motion)
        self.seconds += time.process_time() - begin
        self.calls, self.moved = self.calls + 1, self.moved + (motion is not None)
        return out

    def cells(self) -> tuple[str, str]:
        """Share of pairs that were moved, and milliseconds per pair."""
        return f"{100 * self.moved / self.calls:.0f} %", f"{1000 * self.seconds / self.calls:.2f}"


def segment_row(root: Path, watch: Stopwatch) -> float:
    """Best IoU over the thresholds; the golden image moves."""
    both, either = np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS))
    for golden, test, mask in segment_pairs(root):
        found = difference(watch.register(golden, test), test)
        for place, threshold in enumerate(THRESHOLDS):
            both[place] += np.count_nonzero((found > threshold) & mask)
            either[place] += np.count_nonzero((found > threshold) | mask)
    return float((both / np.maximum(either, 1)).max())


def classify_row(root: Path, watch: Stopwatch) -> float:
    """Average precision; the test image moves, the rim that it may leave is not looked at."""
    scores, targets = [], []
    for golden, test, target in classify_pairs(root):
        found = difference(golden, watch.register(test, golden))
        scores.append(float(found[RIM:-RIM, RIM:-RIM].max()))
        targets.append(target)
    return ranking_metrics(np.asarray(scores), np.asarray(targets, np.int64))["average_precision"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Worth of registration.")
    parser.add_argument("deeppcb", type=Path)
    source = parser.parse_args().deeppcb
    cv2.setNumThreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        kinds: dict[str, tuple[int, Callable[[Path, Stopwatch], float]]] = {
            "segment": (TILE, segment_row),
            "classify": (CROP, classify_row),
        }
        for task, (side, score) in kinds.items():
            convert_deeppcb(source, Path(name) / task, task=task, crop=side)
            for mode in get_args(Alignment):
                watch = Stopwatch(mode)
                value = score(Path(name) / task, watch)
                measure = "IoU" if task == "segment" else "average precision"
                rows.append((f"{task} {side} px, {mode}", measure, f"{value:.4f}", *watch.cells()))
    show("DeepPCB, held-out groups", ("", "measure", "value", "moved", "ms per pair"), rows)


if __name__ == "__main__":
    main()

"""How long ``skillrun data check`` takes: 100 000 CSV rows with 200 000 small pictures in ``train/`` and ``eval/``.

Every file has its own bytes; all have about the same length, so the search for leaks can not go by length.

Run: ``python benchmarks/data_check.py [ROWS]``. The set is made in a temporary folder (about 1 GB on disk) and just
written, so the files lie in the system's cache; a disk that is cold adds its own time. Each check is a process of
its own; time is wall clock, memory the largest resident size of that process.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from measure import show

ROWS, SIDE, FOLDERS, DEFECT_EVERY = 100_000, 32, 100, 10
LARGE_ROWS, LARGE_SIDE = 2_000, 1024
CHECK = """
import json, resource, sys, time
from skillrun.data import check
taken_by = {}
def timed(name):
    call = getattr(check, name)
    def run(*given, **named):
        begin = time.perf_counter()
        found = call(*given, **named)
        taken_by[name] = taken_by.get(name, 0.0) + time.perf_counter() - begin
        return found
    return run
check.check_leaks = timed("check_leaks")
report = timed("check_dataset")(sys.argv[1])
from skillrun.report.dataset import dataset_page
begin = time.perf_counter()
page = len(dataset_page(report).encode())
taken, leaks, paged = taken_by["check_dataset"], taken_by["check_leaks"], time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"s": taken, "mb": peak, "rows": report.rows, "files": report.images, "codes": report.totals,
                  "leaks": leaks, "page": paged, "bytes": page}))
"""


def pictures(side: int) -> Iterator[bytes]:
    """Ever new pairs: golden and a test picture with a little noise, as PNG."""
    random = np.random.default_rng(0)
    while True:
        golden = cv2.resize(random.integers(0, 255, (8, 8), np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
        golden[0, :8] = random.integers(0, 255, 8)
        test = golden.copy()
        test[1, :8] = random.integers(0, 255, 8)
        for picture in (golden, test):
            yield cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def make(folder: Path, rows: int, side: int) -> None:
    """``train/`` with four fifths of the rows and ``eval/`` with the rest."""
    source = pictures(side)
    make_part(folder / "train", rows * 4 // 5, source)
    make_part(folder / "eval", rows - rows * 4 // 5, source)


def make_part(folder: Path, rows: int, source: Iterator[bytes]) -> None:
    """A classify data set of ``rows`` pairs."""
    for part in ("golden", "test"):
        for number in range(FOLDERS):
            (folder / "images" / part / f"{number:03d}").mkdir(parents=True)
    with (folder / "dataset.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("input_path", "golden_path", "label", "object_name"))
        for row in range(rows):
            board = f"{row % FOLDERS:03d}"
            for part in ("golden", "test"):
                (folder / "images" / part / board / f"{row}.png").write_bytes(next(source))
            label = "missing" if row % DEFECT_EVERY == 0 else "PASS"
            writer.writerow((f"test/{board}", f"golden/{board}", label, str(row)))


def main() -> None:
    """Make, check and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    table = []
    for count, side in ((rows, SIDE), (min(rows, LARGE_ROWS), LARGE_SIDE)):
        with tempfile.TemporaryDirectory() as name:
            begin = time.perf_counter()
            make(Path(name), count, side)
            made = time.perf_counter() - begin
            done = subprocess.run([sys.executable, "-c", CHECK, name], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        took = (made, *(found[key] for key in ("s", "leaks", "page")))
        cells = (found["files"], *(f"{value:.1f}" for value in took), f"{found['mb']:.0f}")
        table.append((f"{found['rows']} rows, {side} × {side}", *cells, ", ".join(found["codes"]) or "nothing"))
    show("data check", ("", "files", "made, s", "checked, s", "of it leaks, s", "page, s", "peak MB", "found"), table)


if __name__ == "__main__":
    main()
